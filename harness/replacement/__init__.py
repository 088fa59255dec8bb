"""Routers in place of a language model's own: found, made, initialised, put in, taken out."""
