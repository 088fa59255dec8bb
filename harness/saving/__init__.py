"""Routers and adapters on disk, and whose they are."""
