"""Which figures of a benchmark differ between two runs and should not: a router's size, its work, what it decides."""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose

from reports.comparisons.comparison import MovedFigure
from reports.records.measurements import Measurement, Stat

# A router draws from a seed and computes in float32: the same code gives the same figure up to the order of its sums,
# which is the machine's. The absolute part is for figures that are zero.
_RELATIVE, _ABSOLUTE = 1e-4, 1e-7
# What an allocator rounds up to is its own affair.
_MEMORY_TOLERANCE = 0.01


def moved_figures(benchmark: str, base: Measurement, head: Measurement) -> tuple[list[MovedFigure], int]:
    """The figures that differ, and how many were compared; one that only one run has is not."""
    found = [*_costs(base, head), *_behaviour(base, head)]
    return [MovedFigure(benchmark, figure, old, new) for figure, old, new, same in found if not same], len(found)


_Found = tuple[str, float | None, float | None, bool]


def _costs(base: Measurement, head: Measurement) -> Iterator[_Found]:
    for figure, old in base.counts.items():
        new = head.counts[figure]
        yield figure, old, new, old == new
    if base.peak_memory is not None and head.peak_memory is not None:
        same = isclose(base.peak_memory, head.peak_memory, rel_tol=_MEMORY_TOLERANCE)
        yield "peak_memory", base.peak_memory, head.peak_memory, same


def _behaviour(base: Measurement, head: Measurement) -> Iterator[_Found]:
    for metric, before in base.metric_stats.items():
        after = head.metric_stats.get(metric)
        shared = before.by_seed.keys() & after.by_seed.keys() if after else set()
        if after and shared:
            yield _worst_seed(metric, before, after, sorted(shared))


def _worst_seed(metric: str, base: Stat, head: Stat, seeds: list[int]) -> _Found:
    """A metric where it differs most: means over seeds could agree by chance."""
    values = {seed: (base.by_seed[seed], head.by_seed[seed]) for seed in seeds}
    moved = [seed for seed, pair in values.items() if not _alike(*pair)]
    worst = max(moved or seeds, key=lambda seed: _distance(*values[seed]))
    of_seeds = f" ({len(moved)} of {len(seeds)} seeds)" if len(seeds) > 1 else ""
    return f"{metric}, seed {worst}{of_seeds}", *values[worst], not moved


def _alike(old: float | None, new: float | None) -> bool:
    if old is None or new is None:
        return old is new
    return isclose(old, new, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)


def _distance(old: float | None, new: float | None) -> float:
    """The difference as a share of the larger of the two; without limit where one does not exist."""
    if old is None or new is None:
        return 0.0 if old is new else float("inf")
    return abs(new - old) / max(abs(old), abs(new), _ABSOLUTE)
