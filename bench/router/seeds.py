"""One seed, several independent streams."""

from __future__ import annotations

import hashlib


def derive_seed(purpose: str, seed: int) -> int:
    """The seed of one stream of a run.

    A router and its input drawn from generators of the same seed are the same numbers: the rows of a linear router's
    weights are then the first tokens, scaled, and those tokens meet an expert made for them.
    """
    digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
