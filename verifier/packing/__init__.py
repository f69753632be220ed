"""Packing: solutions that begin alike are read together, each distinct prefix once."""
