"""How the times of a group moved from process to process: all together, and each router beside the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import geometric_mean, median

from reports.records.measurements import Measurement

Course = Sequence[float]
"""The time of each process over the mean of all of them."""


@dataclass(frozen=True)
class Group:
    """What was measured together, in the same processes.

    Attributes:
        name: scenario and input.
        baseline: its router.
        courses: router -> its course; of several starts of a router the first.
    """

    name: str
    baseline: str
    courses: dict[str, Course]

    @cached_property
    def middle(self) -> Course:
        """The median of the routers, process by process."""
        longest = max(map(len, self.courses.values()))
        return [
            median(course[place] for course in self.courses.values() if place < len(course)) for place in range(longest)
        ]

    @cached_property
    def moved(self) -> float:
        """By what share of one the median's slowest process exceeds its fastest: what the machine does to all."""
        return _spread(self.middle)

    @cached_property
    def apart(self) -> dict[str, float]:
        """The same for each router beside the median, which is nearer to what a ratio sees."""
        return {
            router: _spread([time / middle for time, middle in zip(course, self.middle, strict=False)])
            for router, course in self.courses.items()
        }


def group(name: str, entries: Iterable[Measurement]) -> Group:
    """The group of these benchmarks, one or more."""
    courses: dict[str, Course] = {}
    baselines = []
    for entry in entries:
        times = entry.timing.process_us
        mean = geometric_mean(times)
        courses.setdefault(entry.router, [time / mean for time in times])
        baselines.append(entry.timing.baseline)
    return Group(name, baselines[0], courses)


def _spread(course: Course) -> float:
    return max(course) / min(course) - 1
