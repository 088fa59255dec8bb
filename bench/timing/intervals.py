"""From durations to ratios with intervals over processes, and what differences those can tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median, stdev, variance

from scipy.special import stdtrit

CONFIDENCE = 0.95
POWER = 0.80
"""How often a difference of the size of the resolution is found."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    estimate: float
    low: float
    high: float

    @classmethod
    def of_ratios(cls, ratios: Sequence[float]) -> Interval:
        """The geometric mean of ratios, one a process, with Student's interval over their logarithms.

        A process keeps a bias of its own, from where things lie in its memory, so that only processes count as
        independent, and never their rounds.
        """
        logs = [math.log(ratio) for ratio in ratios]
        centre, reach = fmean(logs), 0.0
        if any(log != logs[0] for log in logs):
            quantile = float(stdtrit(len(logs) - 1, (1 + CONFIDENCE) / 2))
            reach = quantile * stdev(logs) / math.sqrt(len(logs))
        return cls(math.exp(centre), math.exp(centre - reach), math.exp(centre + reach))

    def as_dict(self) -> dict[str, float]:
        """For the JSON."""
        return asdict(self)


def paired_ratio(durations: Sequence[int], baseline: Sequence[int]) -> float:
    """The ratio of two things that one process measured in the same rounds: the median of the rounds' ratios.

    Args:
        durations: nanoseconds, one a round.
        baseline: nanoseconds, of the same rounds.
    """
    return median(a / b for a, b in zip(durations, baseline, strict=True))


def resolution(ratios: Sequence[Sequence[float]]) -> float:
    """The minimum detectable effect of a group: the smallest difference that its intervals find four times in five.

    The variances of the logarithms are pooled over the routers, because one router's alone, over five processes, says
    little of its size. The effect is (t(0.975) + t(0.80)) standard errors, t with the degrees of freedom of one
    router's interval.

    Args:
        ratios: of each router but the baseline, one a process.

    Returns:
        a share of one: 0.02 where a router that is 2 % slower is found to be slower.
    """
    logs = [[math.log(ratio) for ratio in of_router] for of_router in ratios]
    processes = len(logs[0])
    error = math.sqrt(fmean(variance(of_router) for of_router in logs) / processes)
    quantile = sum(float(stdtrit(processes - 1, share)) for share in ((1 + CONFIDENCE) / 2, POWER))
    return math.expm1(quantile * error)


def summarise(values: Sequence[float]) -> dict[str, float | list[float | None] | None]:
    """Mean, standard deviation (ddof 1) and the values themselves; None where a number does not exist."""
    finite = [value if math.isfinite(value) else None for value in values]
    if None in finite:
        return {"mean": None, "sd": None, "values": finite}
    return {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else None, "values": finite}
