"""The benchmarks of a report that differ in one size alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from reports.judging.order import in_order
from reports.judging.slopes import LEAST_SIZES
from reports.records.measurements import Entry
from reports.records.timing import Timing

AXES = {"num_tokens": "tokens", "num_experts": "experts", "hidden_size": "hidden size"}
"""The sizes that a time is shown against -> what they are called."""
_OTHERS = {
    "num_tokens": "T",
    "hidden_size": "D",
    "intermediate_size": "I",
    "num_experts": "E",
    "top_k": "K",
    "dtype": "",
    "selection": "",
}
_SEPARATOR = "@"
"""Between an input's name and the label of its sizes."""

Times = dict[int, tuple[float, ...]]
"""Size -> µs of a call in each process; every size has the same number of them."""


@dataclass(frozen=True)
class SizeSeries:
    """Routers timed at several values of one size, with all others alike.

    Attributes:
        axis: the size, a name of `AXES`.
        scenario: what a call does.
        input: its name without sizes.
        alike: the other sizes, the dtype and the selection rule, in words.
        times: router -> its times.
        floors: router -> those of its bare products and one read of its input, where they were timed beside it.
    """

    axis: str
    scenario: str
    input: str
    alike: str
    times: dict[str, Times]
    floors: dict[str, Times]

    def __str__(self) -> str:
        return f"{self.scenario} on {self.input} against {AXES[self.axis]}, {self.alike}"

    @property
    def name(self) -> str:
        """For files, without what a file's name cannot hold."""
        said = f"{self.scenario}-{self.input}-{AXES[self.axis]}-{self.alike}"
        return "".join(character if character.isalnum() else "-" for character in said).replace("--", "-")

    @property
    def sizes(self) -> list[int]:
        """All that a router was timed at."""
        return sorted({size for times in self.times.values() for size in times})


def size_series(entries: Iterable[Entry]) -> list[SizeSeries]:
    """Every series of the entries with a router at three sizes or more."""
    all_entries = list(entries)
    found = []
    for axis in AXES:
        keys = dict.fromkeys(_key(entry, axis) for entry in all_entries if entry.selection is not None)
        for key in keys:
            times: dict[str, list[Entry]] = {}
            for entry in all_entries:
                # What selects by itself has no rule, and stands beside any.
                if _key(entry, axis, dict(key[2])["selection"]) == key:
                    times.setdefault(entry.router, []).append(entry)
            long = _long({router: _times(times[router], axis, _of_call) for router in in_order(times)})
            if long:
                scenario, input_name, alike = key
                floors = _long({router: _times(times[router], axis, _of_floor) for router in long})
                found.append(SizeSeries(axis, scenario, input_name, _words(alike), long, floors))
    return found


Key = tuple[str, str, tuple[tuple[str, Any], ...]]


def _key(entry: Entry, axis: str, rule: str | None = None) -> Key:
    """What the entries of a series share."""
    alike = {name: getattr(entry, name) for name in _OTHERS if name != axis}
    alike["selection"] = entry.selection or rule
    return entry.scenario, entry.input.partition(_SEPARATOR)[0], tuple(alike.items())


def _of_call(timing: Timing) -> tuple[float, ...]:
    return timing.process_us


def _of_floor(timing: Timing) -> tuple[float, ...]:
    return (timing.floor.process_us or ()) if timing.floor else ()


def _long(times: dict[str, Times]) -> dict[str, Times]:
    """Of what was timed at enough sizes for a line."""
    return {router: each for router, each in times.items() if len(each) >= LEAST_SIZES}


def _times(entries: Iterable[Entry], axis: str, times_of: Callable[[Timing], tuple[float, ...]]) -> Times:
    """The first of each size, of those sizes that as many processes have timed as any."""
    first: Times = {}
    for entry in entries:
        if times := times_of(entry.timing):
            first.setdefault(getattr(entry, axis), times)
    most = max(map(len, first.values()), default=0)
    return {size: first[size] for size in sorted(first) if len(first[size]) == most}


def _words(alike: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(f"{_OTHERS[name]} = {value:,}" if _OTHERS[name] else str(value) for name, value in alike)
