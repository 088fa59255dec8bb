"""One benchmark each, typed: the JSON's `extra_info`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from reports.judging.standing import Shift
from reports.records.behaviour import Behaviour
from reports.records.precision import LanguageBehaviour, Precision
from reports.records.record import Amount, Count, Name, Positive, Record, Size, expect_length
from reports.records.rules import above, other_than
from reports.records.sample import Sample
from reports.records.stat import Stat
from reports.records.timing import Timing

LANGUAGE_MODEL = "language_model"


class Measurement(Record):
    """What every benchmark states, whatever it measures."""

    subject: str
    scenario: Name
    router: Name
    hidden_size: Size
    num_experts: Size
    top_k: Size
    experts_per_token: Amount | None
    parameters: Count
    peak_memory: Count | None = None  # bytes
    preset: Any = None
    device: Any = None
    threads: Any = None
    dtype: Any = None
    timing: Timing
    source: int = Field(default=0, exclude=True)
    """Number of the file among those of a report."""
    durations: tuple[tuple[float, ...], ...] = Field(default=(), exclude=True)
    """µs of a call, round by round, of each process; empty where pytest-benchmark's data are not in the file."""

    def contradictions(self) -> Iterator[str | None]:
        """No more experts than there are, the baseline is itself, and times are times of the tokens stated."""
        for name, selected in (("top_k", self.top_k), ("experts_per_token", self.experts_per_token)):
            yield above(name, selected, self.num_experts, "num_experts")
        if self.router == self.timing.baseline:
            yield other_than("timing.ratio.estimate", self.timing.ratio.estimate, 1, "the baseline's ratio to itself")
        yield from self.timing.in_calls_of(self.sizes.get("num_tokens"))

    def shift_to(self, other: Measurement) -> Shift:
        """The ratio to another benchmark's time; of one run, process by process."""
        times, others = self.timing.process_us, other.timing.process_us
        if self.source == other.source and len(times) == len(others):
            return Shift.paired(times, others)
        mine, theirs = self.timing.shift, other.timing.shift
        return Shift(mine.log - theirs.log, math.hypot(mine.error, theirs.error), min(mine.freedom, theirs.freedom))

    @property
    def setting(self) -> dict[str, Any]:
        """What two measurements must share to be compared, apart from their sizes."""
        return {
            "preset": self.preset,
            "device": self.device,
            "threads": self.threads,
            "dtype": self.dtype,
            "clock": self.timing.clock_mode,
            "l2": self.timing.l2,
        }

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of the batch and of the router by their names; those that do not exist are left out."""
        names = ("num_tokens", "batch_size", "sequence_length", "layers", "hidden_size", "intermediate_size")
        found = {name: getattr(self, name, None) for name in (*names, "num_experts", "top_k")}
        return {name: size for name, size in found.items() if size is not None}

    @property
    def key(self) -> tuple[str, ...]:
        """What two files may both hold, and only one can win."""
        raise NotImplementedError

    @property
    def group(self) -> tuple[str, str]:
        """Scenario and input, of which there is none inside a language model: what is measured together."""
        return self.scenario, getattr(self, "input", "")

    @property
    def name(self) -> str:
        """What a comparison calls it."""
        raise NotImplementedError

    @property
    def counts(self) -> Mapping[str, float | None]:
        """Exact figures, the same in every run of the same code."""
        return {"parameters": self.parameters}

    @property
    def metric_stats(self) -> Mapping[str, Stat]:
        """What the router decided, by metric; empty where that was not measured."""
        return {}

    @property
    def precision(self) -> Precision | None:
        """What other precisions do to its decisions, where that was compared."""
        raise NotImplementedError


class Entry(Measurement):
    """One benchmark: a router in a scenario on an input."""

    subject: Literal["router"] = Field(default="router", exclude=True)
    input: Name
    num_tokens: Size
    batch_size: Size
    sequence_length: Size
    intermediate_size: Size
    flops: Count | None = None
    selection: Name | None = "softmax"
    """The name of the selection rule; None of a router that selects by itself."""
    behaviour: Behaviour
    sample: Sample | None = Field(default=None, alias="figures")

    def contradictions(self) -> Iterator[str | None]:
        """The batch has B·S tokens, the sample is one sequence of it, and the work is that of the call."""
        yield from super().contradictions()
        tokens = self.batch_size * self.sequence_length
        yield other_than("num_tokens", self.num_tokens, tokens, "batch_size · sequence_length", tolerance=0)
        if self.sample:
            shown = len(self.sample.sequence_probs)
            yield above("figures.sequence_probs in length", shown, self.sequence_length, "sequence_length")
        if self.flops is not None:
            achieved = self.flops / self.timing.us_per_call / 1e3
            yield other_than("timing.gflops", self.timing.gflops, achieved, "flops over us_per_call")

    @model_validator(mode="after")
    def _has_an_entry_an_expert(self) -> Entry:
        expect_length("behaviour.expert_load.mean", self.behaviour.expert_load, self.num_experts)
        if self.sample and self.sample.pairs is not None:
            expect_length("figures.expert_pairs", self.sample.pairs, self.num_experts)
        for index, row in enumerate(self.sample.sequence_probs if self.sample else ()):
            expect_length(f"figures.sequence_probs[{index}]", row, self.num_experts)
        return self

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
    def metric_stats(self) -> Mapping[str, Stat]:
        """The behaviour's metrics."""
        return self.behaviour.metrics

    @property
    def precision(self) -> Precision | None:
        """The behaviour's."""
        return self.behaviour.precision


class LanguageEntry(Measurement):
    """One benchmark inside a language model, all of whose routers are of one kind; `stock` is the model's own gate."""

    subject: Literal["language_model"]
    initialise: Name
    layers: Size
    num_tokens: Size | None  # an injection handles no token, and a size may then be null
    batch_size: Size | None
    sequence_length: Size | None
    experts_per_token: Positive | None = None
    behaviour: LanguageBehaviour | None = None

    def contradictions(self) -> Iterator[str | None]:
        """A call handles whole texts, or one token of each."""
        yield from super().contradictions()
        if self.batch_size and self.sequence_length and self.num_tokens != self.batch_size:
            tokens = self.batch_size * self.sequence_length
            yield other_than("num_tokens", self.num_tokens, tokens, "batch_size · sequence_length", tolerance=0)

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

    @property
    def precision(self) -> Precision | None:
        """The behaviour's, of all layers."""
        return self.behaviour.precision if self.behaviour else None
