"""Student's t: intervals of a mean and of a difference that is paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import t as student_t

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval; the bounds are None where one value alone gives none."""

    estimate: float
    low: float | None
    high: float | None

    def overlaps(self, other: Interval) -> bool:
        """Whether the two are too close to say which is larger."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return True
        return self.low <= other.high and other.low <= self.high


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean with its 95 % interval."""
    mean = fmean(values)
    if len(values) < 2:
        return Interval(mean, None, None)
    quantile = float(student_t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    reach = quantile * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - reach, mean + reach)


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Interval | None:
    """Mean of `second - first` over the seeds that both have, or None where they share none.

    A seed draws the router and the experts, so a difference within a seed is free of what the draws themselves do.
    """
    shared = sorted(first.keys() & second.keys())
    return mean_interval([second[seed] - first[seed] for seed in shared]) if shared else None
