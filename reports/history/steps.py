"""Where a series of runs steps: change points, found offline. Axes: n runs, in order.

The method is circular binary segmentation (Olshen, Venkatraman, Lucito and Wigler 2004, Biostatistics 5(4)): of all
stretches of runs the one is sought whose mean differs most from the rest of its segment, so that a regression that
was mended later is found as well as one that stayed. Its Student's t, with the scatter that all segments leave, is
multiplied by the number of stretches that were looked at (Bonferroni), and the series is split while that stays below
the level. Hunter (Fleming, Kołaczkowski et al. 2023) likewise puts a t test in the place of E-divisive's
permutations, for the same runs then give the same steps; here no window has to be chosen. Over many series the level
is Benjamini and Hochberg's (1995): of the series that are said to step, one in twenty is wrong at most, on average.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from reports.judging.intervals import Interval, t_quantile

LEVEL = 0.05
"""How many of the series that are said to step may be flat."""
SHORTEST = 3
"""A step has to have so many runs on both sides: one odd run is none, nor are two."""
FEWEST = 2 * SHORTEST
"""Runs below which nothing can be found."""
# From the median of absolute values to the standard deviation of normal ones.
_NORMAL = 1.4826
_MOST_STEPS = 50
# On a side of fewer runs each of them has to agree.
_FEW = 5


@dataclass(frozen=True)
class Step:
    """A change between two runs.

    Attributes:
        place: number of the first run after it.
        before: mean of the runs before, back to the step before.
        after: mean of the runs after it, up to the next one.
        change: `after − before`, with its 95 % interval.
    """

    place: int
    before: float
    after: float
    change: Interval


Bounds = list[int]
"""Where segments begin, and n: [0, …, n]."""

_WEIGHTS_APART = 1e-9
"""The least variance of a run, as a share of the largest: sums of weights further apart lose digits of the lighter."""


class _Series:
    """Values with weights; sums of any stretch in constant time."""

    def __init__(self, values: Sequence[float], errors: Sequence[float | None]) -> None:
        y = np.asarray(values, dtype=float)
        # Far from zero the sums of squares would lose their digits.
        self._origin = float(np.median(y))
        y = y - self._origin
        within, between = _variances(y, errors)
        variance = within + between
        # A run that claims to be exact beside others that are not would be the only one in every sum.
        variance = np.maximum(variance, _WEIGHTS_APART * variance.max())
        weights = 1 / variance if variance.min() > 0 else np.ones_like(y)
        scale = len(y) / weights.sum()
        weights = weights * scale
        self.number = len(y)
        self.y = y + self._origin
        self.floor = float(np.mean(within * weights))
        """The variance that the runs' own intervals leave at least."""
        self.w, self.wy, self.wyy = (
            np.concatenate([[0.0], np.cumsum(each)]) for each in (weights, weights * y, weights * y * y)
        )

    def mean(self, start: int, end: int) -> float:
        """Of the runs from `start` up to `end`."""
        return float((self.wy[end] - self.wy[start]) / (self.w[end] - self.w[start])) + self._origin

    def scatter(self, bounds: Bounds) -> float:
        """What the segments' means leave: the weighted sum of squares around them."""
        return sum(
            max(0.0, float(self.wyy[b] - self.wyy[a] - (self.wy[b] - self.wy[a]) ** 2 / (self.w[b] - self.w[a])))
            for a, b in pairwise(bounds)
        )

    def variance(self, scatter: float, freedom: int) -> float:
        """Of a run of weight one; not below what the intervals say, nor below what a float can tell."""
        return max(scatter / freedom, self.floor, 1e-24)

    def best(self, start: int, end: int) -> tuple[float, tuple[int, int], int]:
        """The stretch of a segment that differs most: the squares that it explains, its ends, of how many."""
        i, j = _stretches(start, end)
        if not len(i):
            return 0.0, (start, end), 0
        total_w, total_y = self.w[end] - self.w[start], self.wy[end] - self.wy[start]
        w, y = self.w[j] - self.w[i], self.wy[j] - self.wy[i]
        gains = (y - w * total_y / total_w) ** 2 * total_w / (w * (total_w - w))
        place = int(np.argmax(gains))
        return float(gains[place]), (int(i[place]), int(j[place])), len(i)

    def odd(self, a: int, b: int, c: int) -> bool:
        """Whether a short side of `b` has a run that is nearer the other side's mean."""
        before, after = self.mean(a, b), self.mean(b, c)
        middle, up = (before + after) / 2, after > before
        sides = [(self.y[a:b], up), (self.y[b:c], not up)]
        return any(
            bool(np.any(side > middle) if lower else np.any(side < middle)) for side, lower in sides if len(side) < _FEW
        )

    def between(self, a: int, b: int, c: int) -> tuple[float, float]:
        """The means' difference across `b`, and its variance for a run of variance one."""
        return self.mean(b, c) - self.mean(a, b), float(1 / (self.w[b] - self.w[a]) + 1 / (self.w[c] - self.w[b]))


def _variances(y: NDArray[np.float64], errors: Sequence[float | None]) -> tuple[NDArray[np.float64], float]:
    """Each run's variance from its interval, and that between runs: the median of neighbours, which no step moves."""
    known = [error**2 for error in errors if error is not None]
    typical = float(np.median(known)) if known else 0.0
    within = np.asarray([typical if error is None else error**2 for error in errors])
    apart = _NORMAL * float(np.median(np.abs(np.diff(y)))) / math.sqrt(2) if len(y) > 1 else 0.0
    return within, max(0.0, apart**2 - typical)


def _stretches(start: int, end: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Beginnings and ends of all that is long enough itself, and leaves enough or nothing on each side."""
    i, j = np.triu_indices(end - start + 1, SHORTEST)
    left, right = i, end - start - j
    enough = ((left == 0) | (left >= SHORTEST)) & ((right == 0) | (right >= SHORTEST)) & (left + right > 0)
    # [start, b) and [b, end) are one split.
    enough &= left > 0
    return i[enough] + start, j[enough] + start


def first_p(values: Sequence[float], errors: Sequence[float | None]) -> float:
    """How probable so large a difference is in a flat series: what many series are judged together by."""
    if len(values) < FEWEST:
        return 1.0
    series = _Series(values, errors)
    return _next(series, [0, series.number])[0]


def level_of(probabilities: Sequence[float], level: float = LEVEL) -> float:
    """The level for each of many series, by Benjamini and Hochberg; 0 where none of them steps."""
    number = len(probabilities)
    passed = [rank for rank, p in enumerate(sorted(probabilities), 1) if p <= level * rank / number]
    return level * max(passed) / number if passed else 0.0


def find_steps(values: Sequence[float], errors: Sequence[float | None], level: float = LEVEL) -> list[Step]:
    """The steps of a series.

    Args:
        values: n numbers that scatter alike along the series: logarithms of times.
        errors: each one's own standard error, where there is one.
        level: how probable a step may be in a flat series.
    """
    if len(values) < FEWEST:
        return []
    series = _Series(values, errors)
    bounds = [0, series.number]
    while len(bounds) < _MOST_STEPS:
        p, places = _next(series, bounds)
        if p > level:
            break
        bounds = sorted({*bounds, *places})
    bounds = _pruned(series, bounds, level)
    return [_step(series, bounds, index) for index in range(1, len(bounds) - 1)]


def _next(series: _Series, bounds: Bounds) -> tuple[float, tuple[int, int]]:
    """The largest difference inside any segment, and its probability under the segments as they are."""
    found = [series.best(a, b) for a, b in pairwise(bounds)]
    looked = sum(number for _, _, number in found)
    gain, places, _ = max(found, key=lambda each: each[0])
    freedom = series.number - len(bounds)
    if not looked or freedom < 1:
        return 1.0, places
    variance = series.variance(max(0.0, series.scatter(bounds) - gain), freedom)
    return min(1.0, looked * _tail(math.sqrt(gain / variance), freedom)), places


def _pruned(series: _Series, bounds: Bounds, level: float) -> Bounds:
    """Without the ends of stretches at which nothing steps; the others moved to where they fit best."""
    while len(bounds) > 2:
        bounds = _moved(series, bounds)
        freedom = series.number - len(bounds) + 1
        variance = series.variance(series.scatter(bounds), freedom)
        tests = {
            b: _tail(abs(change) / math.sqrt(variance * spread), freedom) * series.number
            for a, b, c in zip(bounds, bounds[1:], bounds[2:], strict=False)
            for change, spread in [series.between(a, b, c)]
        }
        # Of few runs the mean may be that of one or two odd ones.
        tests |= {b: math.inf for a, b, c in zip(bounds, bounds[1:], bounds[2:], strict=False) if series.odd(a, b, c)}
        weakest = max(tests, key=lambda place: tests[place])
        if tests[weakest] <= level:
            break
        bounds = [bound for bound in bounds if bound != weakest]
    return bounds


def _moved(series: _Series, bounds: Bounds) -> Bounds:
    """Each step where it leaves the least scatter between its neighbours."""
    moved = list(bounds)
    for index in range(1, len(moved) - 1):
        a, c = moved[index - 1], moved[index + 1]
        places = range(a + SHORTEST, c - SHORTEST + 1)
        moved[index] = min(places, key=lambda b: (series.scatter([a, b, c]), b))
    return moved


def _step(series: _Series, bounds: Bounds, index: int) -> Step:
    a, b, c = bounds[index - 1 : index + 2]
    freedom = series.number - len(bounds) + 1
    change, spread = series.between(a, b, c)
    reach = t_quantile(freedom) * math.sqrt(series.variance(series.scatter(bounds), freedom) * spread)
    return Step(b, series.mean(a, b), series.mean(b, c), Interval(change, change - reach, change + reach))


def _tail(t: float, freedom: int) -> float:
    """Student's, on both sides."""
    from scipy.special import stdtr

    return 2 * float(stdtr(freedom, -t))
