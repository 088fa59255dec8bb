"""Routers inside a language model."""
