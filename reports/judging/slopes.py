"""How a time grows with a size: the slope between their logarithms, process by process.

A slope of 1 is time in proportion to the size, 0 time that does not depend on it. A process keeps a bias of its own,
of which what is the same at all sizes cancels in its slope; the interval is over the processes' slopes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import linear_regression

from reports.judging.intervals import Interval, mean_interval

LEAST_SIZES = 3
"""Fewer show no line."""


def slope(times: Mapping[int, Sequence[float]]) -> Interval:
    """The mean of the processes' slopes, with its 95 % interval.

    Args:
        times: size -> the time of each process, in the same order and number at each of two sizes or more.

    Raises:
        ValueError: fewer sizes, or a process that not all of them have.
    """
    if len(times) < 2:
        raise ValueError(f"{len(times)} sizes, expected at least 2")
    logs = [math.log(size) for size in times]
    return mean_interval(
        [
            linear_regression(logs, [math.log(time) for time in process]).slope
            for process in zip(*times.values(), strict=True)
        ]
    )


def upper_half(times: Mapping[int, Sequence[float]]) -> dict[int, Sequence[float]]:
    """The sizes from the middle of the range on, between the logarithms of its ends; at least the two largest."""
    sizes = sorted(times)
    middle = math.sqrt(sizes[0] * sizes[-1])
    first = min(sizes[-2], next(size for size in sizes if size >= middle * (1 - 1e-9)))
    return {size: times[size] for size in sizes if size >= first}
