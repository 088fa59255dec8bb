"""Mixture-of-Experts language models by name."""
