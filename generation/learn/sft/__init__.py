"""Supervised fine-tuning of a generator on right solutions."""
