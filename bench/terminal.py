"""What the terminal shows of a run: a table a group, the fastest router first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bench.timing.group import Group
from bench.timing.intervals import Interval


def lines(groups: Iterable[Group[Any]]) -> Iterator[str]:
    """Each group with what it can tell, and its routers with their times and their ratios to the baseline."""
    for group in groups:
        spec = group.spec
        names = [name for name in group.timed if name != spec.twin]
        if len(names) < 2 and spec.twin not in group.timed:
            continue
        yield ""
        yield (
            f"{spec.key}: {spec.repetitions} processes; {spec.baseline} against itself "
            f"{_interval(group.noise_floor)}; resolves {100 * group.resolution:.1f} %"
        )
        width = max(map(len, names))
        ratios = {name: Interval.of_ratios(group.ratios(name)) for name in names}
        for name in sorted(names, key=lambda name: ratios[name].estimate):
            time_us = group.timing(name, 0.0)["us_per_call"]
            yield f"  {name:{width}}  {time_us:>14,.1f} µs  {_interval(ratios[name])} x {spec.baseline}"


def _interval(ratio: Interval) -> str:
    return f"{ratio.estimate:7.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
