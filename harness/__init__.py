"""Puts routers into real models: where weights and text come from, and how a layer of theirs becomes sparse."""
