"""Scoring engines: what a verifier's scores can be read with, besides transformers."""
