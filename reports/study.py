"""What the files say, typed: the frozen records from which every table and figure is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from reports import paper
from reports.errors import MissingDataError
from reports.intervals import Interval, mean_interval


@dataclass(frozen=True)
class Stat:
    """One quantity over the seeds; a value is None where it does not exist."""

    mean: float | None
    sd: float | None
    by_seed: Mapping[int, float | None]

    @property
    def known(self) -> dict[int, float]:
        """The values that exist, by seed."""
        return {seed: value for seed, value in self.by_seed.items() if value is not None}

    @property
    def interval(self) -> Interval | None:
        """Mean and 95 % interval over the seeds."""
        return mean_interval(list(self.known.values())) if self.known else None


NO_STAT = Stat(None, None, {})


@dataclass(frozen=True)
class Timing:
    """How long a call takes, in itself and beside the baseline."""

    clock: str
    repetitions: int
    rounds: int
    us_per_call: float
    ns_per_token: float
    block_median_us: tuple[float, ...]
    baseline: str
    ratio: Interval
    noise_floor: Interval
    gflops: float | None
    peak_gflops: float | None


@dataclass(frozen=True)
class Experts:
    """A layer with one kind of experts: its output, and its distance from the feed-forward network it replaces."""

    output_std: Stat
    output_error: Stat | None


@dataclass(frozen=True)
class Behaviour:
    """What a router decides on an input."""

    metrics: Mapping[str, Stat]
    expert_load: tuple[float, ...]
    layer: Mapping[str, Experts]

    def metric(self, name: str) -> Stat:
        """A metric, without values where the file has none of that name."""
        return self.metrics.get(name, NO_STAT)


@dataclass(frozen=True)
class Histogram:
    """Counts between edges, of which there is one more."""

    edges: tuple[float, ...]
    counts: tuple[float, ...]


@dataclass(frozen=True)
class Sample:
    """What the figures show: one sequence's probabilities and the layer's outputs, of the first seed."""

    sequence_probs: tuple[tuple[float, ...], ...]
    sequence_tokens: tuple[str, ...] | None
    outputs: Mapping[str, Histogram]


@dataclass(frozen=True)
class Entry:
    """One benchmark: a router in a scenario on an input."""

    scenario: str
    router: str
    input: str
    input_source: str
    sizes: Mapping[str, int]
    experts_per_token: float | None
    parameters: int
    flops: int | None
    peak_memory: int | None  # bytes
    setting: Mapping[str, Any]  # preset, device, threads, dtype
    timing: Timing
    behaviour: Behaviour
    sample: Sample | None
    source: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What two files may both hold, and only one can win."""
        return self.scenario, self.router, self.input


@dataclass(frozen=True)
class Source:
    """A file and what it says of the run as a whole."""

    file: str
    run: Mapping[str, Any]
    machine: Mapping[str, Any]
    date: str
    commit: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """Everything that a report is made from."""

    sources: tuple[Source, ...]
    entries: tuple[Entry, ...]
    remarks: tuple[str, ...] = ()

    @cached_property
    def routers(self) -> tuple[str, ...]:
        """The paper's routers in the paper's order, then all others in the order in which the files bring them."""
        names = dict.fromkeys(entry.router for entry in self.entries)
        return tuple(name for name in paper.NAMES if name in names) + tuple(n for n in names if n not in paper.NAMES)

    def select(self, scenario: str, input_name: str) -> list[Entry]:
        """All routers of a scenario on an input, in the study's order of routers; refuses an empty answer."""
        found = {e.router: e for e in self.entries if e.scenario == scenario and e.input == input_name}
        if not found:
            raise MissingDataError(f"the files hold no measurement of scenario “{scenario}” on input “{input_name}”")
        return [found[router] for router in self.routers if router in found]

    def find(self, scenario: str, input_name: str) -> dict[str, Entry]:
        """As `select`, by router; empty where there is none."""
        try:
            return {entry.router: entry for entry in self.select(scenario, input_name)}
        except MissingDataError:
            return {}
