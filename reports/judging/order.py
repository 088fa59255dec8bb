"""In which order a reader meets routers, and the starts that a router may have."""

from __future__ import annotations

from collections.abc import Iterable

from reports.judging import paper

# The model's own gates, beside which replaced ones are set.
STOCK = "stock"
DISTILLED = "distilled"
STARTS = ("original", "random", DISTILLED)


def in_order(routers: Iterable[str]) -> tuple[str, ...]:
    """The model's own, the paper's in the paper's order, then all others in the order in which the files bring them."""
    names = dict.fromkeys(routers)
    first = [name for name in (STOCK, *paper.NAMES) if name in names]
    return (*first, *(name for name in names if name not in first))


def start_rank(initialise: str) -> tuple[int, str]:
    """The place of a start among others; those that nobody has foreseen come last, by name."""
    return (STARTS.index(initialise) if initialise in STARTS else len(STARTS)), initialise
