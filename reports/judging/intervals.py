"""Student's t: intervals of a mean, of a difference that is paired by seed, and of a ratio that is not paired."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev, variance

CONFIDENCE = 0.95
# Numbers beyond e^700 are none that a computer holds; times that far apart are a broken file's.
_LARGEST_LOG = 700.0


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval; the bounds are None where one value alone gives none."""

    estimate: float
    low: float | None = None
    high: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a value lies inside; where there are no bounds, it may."""
        return (self.low is None or self.low <= value) and (self.high is None or value <= self.high)

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
    reach = t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - reach, mean + reach)


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Interval | None:
    """Mean of `second - first` over the seeds that both have, or None where they share none.

    A seed draws the router and the experts, so a difference within a seed is free of what the draws themselves do.
    """
    shared = sorted(first.keys() & second.keys())
    return mean_interval([second[seed] - first[seed] for seed in shared]) if shared else None


def unpaired_ratio(base: Sequence[float], head: Sequence[float]) -> Interval:
    """Geometric mean of `head` over that of `base`, with Welch's 95 % interval over the logarithms.

    Welch's, because two runs on a shared machine need not spread alike.
    """
    logs = [[math.log(value) for value in values] for values in (base, head)]
    centre = fmean(logs[1]) - fmean(logs[0])
    if min(map(len, logs)) < 2:
        return Interval(_exponential(centre), None, None)
    errors = [variance(values) / len(values) for values in logs]
    if sum(errors) == 0:
        return Interval(*[_exponential(centre)] * 3)
    shares = [error / sum(errors) for error in errors]
    freedom = 1 / sum(share**2 / (len(values) - 1) for share, values in zip(shares, logs, strict=True))
    reach = t_quantile(freedom) * math.sqrt(sum(errors))
    return Interval(_exponential(centre), _exponential(centre - reach), _exponential(centre + reach))


def _exponential(log: float) -> float:
    return math.exp(max(-_LARGEST_LOG, min(_LARGEST_LOG, log)))


def t_quantile(freedom: float) -> float:
    """Student's, of the 95 % interval."""
    # Imported here: a gate's file brings its own intervals, and is shown sooner without scipy.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
