"""Which figures of a benchmark differ between two runs and should not: a router's size, its work, what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isclose
from typing import Any

from reports.comparisons.comparison import MovedFigure
from reports.records.measurements import Measurement

# By which share, and by how much, two values of a figure may differ.
_EXACT = 0.0, 0.0
# A router draws from a seed and computes in float32: the same code gives the same figure up to the order of its sums,
# which is the machine's. The absolute part is for figures that are zero.
_SUMS = 1e-4, 1e-7
# What an allocator rounds up to is its own affair.
_ALLOCATED = 1e-2, 0.0

_Tolerance = tuple[float, float]
_BySeed = Mapping[Any, float | None]


def moved_figures(benchmark: str, base: Measurement, head: Measurement) -> tuple[list[MovedFigure], int]:
    """The figures that differ, and how many were compared; one that only one run has is not."""
    found, afters = [], _figures(head)
    for figure, (tolerance, before) in _figures(base).items():
        _, after = afters.get(figure, (tolerance, {}))
        pairs = {seed: (old, after[seed]) for seed, old in before.items() if seed in after}
        found += [_worst(benchmark, figure, pairs, tolerance)] if pairs else []
    return [moved for moved in found if moved], len(found)


def _figures(measurement: Measurement) -> dict[str, tuple[_Tolerance, _BySeed]]:
    """Tolerance and values of each figure, by seed, or under None where a figure does not depend on seeds."""
    figures: dict[str, tuple[_Tolerance, _BySeed]] = {}
    for figure, value in measurement.counts.items():
        figures[figure] = _EXACT, {None: value}
    if measurement.peak_memory is not None:
        figures["peak_memory"] = _ALLOCATED, {None: measurement.peak_memory}
    for metric, stat in measurement.metric_stats.items():
        figures[metric] = _SUMS, stat.by_seed
    return figures


def _worst(
    benchmark: str,
    figure: str,
    pairs: Mapping[int | None, tuple[float | None, float | None]],
    tolerance: _Tolerance,
) -> MovedFigure | None:
    """A figure at the seed where it differs most, if it differs: means over seeds could agree by chance."""
    moved = [seed for seed, pair in pairs.items() if not _alike(*pair, *tolerance)]
    if not moved:
        return None
    seed = max(moved, key=lambda seed: _distance(*pairs[seed]))
    of_seeds = f" ({len(moved)} of {len(pairs)} seeds)" if len(pairs) > 1 else ""
    return MovedFigure(benchmark, figure if seed is None else f"{figure}, seed {seed}{of_seeds}", *pairs[seed])


def _alike(old: float | None, new: float | None, relative: float, absolute: float) -> bool:
    if old is None or new is None:
        return old is new
    return isclose(old, new, rel_tol=relative, abs_tol=absolute)


def _distance(old: float | None, new: float | None) -> float:
    """The difference as a share of the larger of the two; without limit where one does not exist."""
    return inf if old is None or new is None else abs(new - old) / max(abs(old), abs(new), _SUMS[1])
