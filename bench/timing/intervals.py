"""From durations to ratios with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median, stdev

from scipy.stats import t as student_t

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    estimate: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """For the JSON."""
        return asdict(self)


def paired_ratio(durations: Sequence[Sequence[int]], baseline: Sequence[Sequence[int]]) -> Interval:
    """The ratio of two things that were measured in the same rounds.

    Each block gives the median of its rounds' ratios. The interval is Student's over the logarithms of the blocks'
    medians: calls of a block share its circumstances, so that only blocks count as independent.

    Args:
        durations: [block][round], nanoseconds.
        baseline: [block][round], nanoseconds, of the same rounds.
    """
    logs = [
        math.log(median(a / b for a, b in zip(block, base, strict=True)))
        for block, base in zip(durations, baseline, strict=True)
    ]
    centre = fmean(logs)
    half_width = 0.0
    if any(log != logs[0] for log in logs):
        quantile = float(student_t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1))
        half_width = quantile * stdev(logs) / math.sqrt(len(logs))
    return Interval(math.exp(centre), math.exp(centre - half_width), math.exp(centre + half_width))


def summarise(values: Sequence[float]) -> dict[str, float | list[float | None] | None]:
    """Mean, standard deviation (ddof 1) and the values themselves; None where a number does not exist."""
    finite = [value if math.isfinite(value) else None for value in values]
    if None in finite:
        return {"mean": None, "sd": None, "values": finite}
    return {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else None, "values": finite}
