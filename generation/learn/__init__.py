"""Generators made better: supervised fine-tuning, preference rounds, policy gradients."""
