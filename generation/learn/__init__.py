"""Generators made better: supervised fine-tuning on right solutions."""
