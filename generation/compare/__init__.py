"""Generators side by side, each with the same verifiers on the same problems."""
