"""Student's t: intervals of a mean and of a difference that is paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

# The 97.5 % quantile for 1 to 30 degrees of freedom; scipy would be a large dependency for thirty numbers.
_T_975 = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)


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


def t_quantile(degrees_of_freedom: int) -> float:
    """t such that a share of 0.975 lies below it."""
    if degrees_of_freedom < 1:
        raise ValueError(f"degrees_of_freedom must be at least 1, not {degrees_of_freedom}")
    if degrees_of_freedom <= len(_T_975):
        return _T_975[degrees_of_freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    # Two terms of the Cornish-Fisher expansion: off by less than 1e-4 from 31 on, where z alone is off by 0.08.
    return z + (z**3 + z) / (4 * degrees_of_freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees_of_freedom**2)


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean with its 95 % interval."""
    mean = fmean(values)
    if len(values) < 2:
        return Interval(mean, None, None)
    reach = t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - reach, mean + reach)


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Interval | None:
    """Mean of `second - first` over the seeds that both have, or None where they share none.

    A seed draws the router and the experts, so a difference within a seed is free of what the draws themselves do.
    """
    shared = sorted(first.keys() & second.keys())
    return mean_interval([second[seed] - first[seed] for seed in shared]) if shared else None
