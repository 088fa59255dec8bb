"""Routers where they work: inside a language model, compared with the model's own."""
