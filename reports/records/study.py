"""What the files say, typed: the frozen records from which every table and figure is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from reports.errors import MissingDataError
from reports.judging.intervals import Interval, mean_interval
from reports.judging.order import in_order, start_rank
from reports.records.fine_tuning import FineTuning


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
LANGUAGE_MODEL = "language_model"


@dataclass(frozen=True)
class Timing:
    """How long a call takes, in itself and beside the baseline."""

    clock: str
    repetitions: int
    rounds: int
    us_per_call: float
    ns_per_token: float | None  # None where a call handles no token
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


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What every benchmark states, whatever it measures."""

    scenario: str
    router: str
    sizes: Mapping[str, int]
    parameters: int
    peak_memory: int | None  # bytes
    setting: Mapping[str, Any]  # preset, device, threads, dtype
    timing: Timing
    source: int

    @property
    def key(self) -> tuple[str, ...]:
        """What two files may both hold, and only one can win."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """What a comparison calls it."""
        raise NotImplementedError

    @property
    def counts(self) -> Mapping[str, float | None]:
        """Exact figures, the same in every run of the same code."""
        return {"parameters": self.parameters}

    @property
    def metrics(self) -> Mapping[str, Stat]:
        """What the router decided, by metric; empty where that was not measured."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Entry(Measurement):
    """One benchmark: a router in a scenario on an input."""

    input: str
    input_source: str
    experts_per_token: float | None
    flops: int | None
    behaviour: Behaviour
    sample: Sample | None

    @property
    def key(self) -> tuple[str, str, str]:
        """Scenario, router and input."""
        return self.scenario, self.router, self.input

    @property
    def name(self) -> str:
        """As the gate calls it."""
        return f"{self.scenario} | {self.input} | {self.router}"

    @property
    def counts(self) -> Mapping[str, float | None]:
        """Parameters, work of a call and selected experts."""
        return {"parameters": self.parameters, "flops": self.flops, "experts_per_token": self.experts_per_token}

    @property
    def metrics(self) -> Mapping[str, Stat]:
        """The behaviour's metrics."""
        return self.behaviour.metrics


@dataclass(frozen=True, kw_only=True)
class LanguageEntry(Measurement):
    """One benchmark inside a language model, all of whose routers are of one kind; `stock` is the model's own gate."""

    initialise: str
    experts_per_token: float | None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Subject, scenario, router and start."""
        return LANGUAGE_MODEL, self.scenario, self.router, self.initialise

    @property
    def name(self) -> str:
        """The key in another order, the router last as for all benchmarks."""
        return f"{LANGUAGE_MODEL} | {self.scenario} | {self.initialise} | {self.router}"

    @property
    def counts(self) -> Mapping[str, float | None]:
        """Parameters and selected experts."""
        return {"parameters": self.parameters, "experts_per_token": self.experts_per_token}


@dataclass(frozen=True)
class Source:
    """A file and what it says of the run as a whole."""

    file: str
    run: Mapping[str, Any]
    machine: Mapping[str, Any]
    date: str
    commit: Mapping[str, Any]

    @property
    def language_model(self) -> Mapping[str, Any]:
        """The model inside which benchmarks ran; empty where the file names none."""
        model = self.run.get("language_model")
        return model if isinstance(model, Mapping) else {}


@dataclass(frozen=True)
class Study:
    """Everything that a report is made from."""

    sources: tuple[Source, ...]
    entries: tuple[Entry, ...]
    remarks: tuple[str, ...] = ()
    language: tuple[LanguageEntry, ...] = ()
    fine_tuning: FineTuning | None = None

    @cached_property
    def routers(self) -> tuple[str, ...]:
        """All that router benchmarks measured, in the report's order."""
        return in_order(entry.router for entry in self.entries)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """The benchmarks of both kinds."""
        return (*self.entries, *self.language)

    @property
    def tuned(self) -> FineTuning:
        """The fine-tuning; refuses where there is none."""
        if self.fine_tuning is None:
            raise MissingDataError("the files hold no fine-tuning")
        return self.fine_tuning

    def inside(self, scenario: str) -> list[LanguageEntry]:
        """All routers of a scenario inside a language model, the model's own first; refuses an empty answer."""
        found = [entry for entry in self.language if entry.scenario == scenario]
        if not found:
            raise MissingDataError(f"the files hold no measurement of “{scenario}” inside a language model")
        order = in_order(entry.router for entry in found)
        return sorted(found, key=lambda entry: (order.index(entry.router), start_rank(entry.initialise)))

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
