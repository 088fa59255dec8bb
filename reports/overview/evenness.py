"""How evenly a router spreads the load: the busiest expert's share of it."""

from __future__ import annotations

from collections.abc import Iterable

from reports.overview.by_seed import Smallest, independent_of_seed, smallest
from reports.records.measurements import Entry
from reports.tables.behaviour.balance import largest_load


def largest_loads(entry: Entry) -> dict[int, float]:
    """The busiest expert's share of all assignments, by seed; a seed in which it does not exist is left out."""
    known = entry.behaviour.metric("max_violation").known
    return {seed: largest_load(value, entry.num_experts) for seed, value in known.items()}


def most_even_of(entries: Iterable[Entry]) -> Smallest[str] | None:
    """The router whose largest load is smallest; None where it is known of none."""
    return smallest({entry.router: largest_loads(entry) for entry in entries}, independent_of_seed)
