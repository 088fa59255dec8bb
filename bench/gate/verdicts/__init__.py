"""Samples taken by processes in turn, and the verdicts on them."""
