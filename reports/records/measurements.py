"""One benchmark each, typed: the JSON's `extra_info`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import fmean, geometric_mean, stdev
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from reports.judging.intervals import Interval, mean_interval
from reports.judging.standing import Shift
from reports.records.record import Amount, Count, Name, Number, Positive, Ratio, Record, Size, Text
from reports.records.rules import above, falling, other_than, outside, repeated

LANGUAGE_MODEL = "language_model"
PROBABILITIES_ROUNDING = 1e-5
"""Of each probability in a file's sample, which has five digits."""


class Stat(Record):
    """One quantity over the seeds; a value is None where it does not exist."""

    mean: Number | None
    sd: Amount | None
    values: tuple[Number | None, ...]
    _seeds: tuple[int, ...] = ()

    def contradictions(self) -> Iterator[str | None]:
        """Mean and standard deviation are those of the values that exist."""
        known = [value for value in self.values if value is not None]
        scale = max(map(abs, known), default=0.0)
        yield other_than("mean", self.mean, fmean(known) if known else None, "mean of values", scale=scale)
        yield other_than("sd", self.sd, stdev(known) if len(known) > 1 else None, "sd of values", scale=scale)

    def give_seeds(self, seeds: tuple[int, ...], path: str) -> None:
        """Takes the seeds that the values belong to, one each; the path is the quantity's own, for an error."""
        _expect_length(f"{path}.values", self.values, len(seeds))
        self._seeds = seeds

    @property
    def by_seed(self) -> dict[int, float | None]:
        """The values by seed."""
        return dict(zip(self._seeds, self.values, strict=True))

    @property
    def known(self) -> dict[int, float]:
        """The values that exist, by seed."""
        return {seed: value for seed, value in self.by_seed.items() if value is not None}

    @property
    def interval(self) -> Interval | None:
        """Mean and 95 % interval over the seeds."""
        return mean_interval(list(self.known.values())) if self.known else None


NO_STAT = Stat(mean=None, sd=None, values=())


class Timing(Record):
    """How long a call takes, in itself and beside the baseline."""

    clock: Text
    repetitions: Size
    rounds: Size
    us_per_call: Positive
    tokens_per_call: Count
    ns_per_token: Positive | None  # None where a call handles no token
    process_us: tuple[Positive, ...]
    baseline: Name
    ratio: Ratio
    noise_floor: Ratio
    resolution: Amount  # smallest difference that the group can tell, a share of one
    gflops: Amount | None
    peak_gflops: Positive | None

    def contradictions(self) -> Iterator[str | None]:
        """A process a repetition, the call between them, and no work that the machine cannot do."""
        yield other_than("repetitions", self.repetitions, len(self.process_us), "the number of process_us")
        yield other_than(
            "us_per_call", self.us_per_call, geometric_mean(self.process_us), "geometric mean of process_us"
        )
        yield above("gflops", self.gflops, self.peak_gflops, "peak_gflops")

    def in_calls_of(self, tokens: int | None) -> Iterator[str | None]:
        """The rules for a benchmark on so many tokens: a call handles no more, and a token takes its part of a call."""
        handled = self.tokens_per_call
        yield above("timing.tokens_per_call", handled, tokens or 0, "num_tokens")
        per_token = 1e3 * self.us_per_call / handled if handled else None
        yield other_than("timing.ns_per_token", self.ns_per_token, per_token, "us_per_call over tokens_per_call")

    @field_validator("process_us")
    @classmethod
    def _holds_processes(cls, processes: tuple[float, ...]) -> tuple[float, ...]:
        if not processes:
            raise PydanticCustomError("empty", "holds no process")
        return processes

    @property
    def shift(self) -> Shift:
        """The ratio to the baseline, for a judgement."""
        return Shift.of(self.ratio, len(self.process_us))


class LayerOutput(Record):
    """A layer with one kind of experts: its output, and its distance from the feed-forward network it replaces."""

    output_std: Stat
    output_error: Stat | None = None


class Loads(Record):
    """(E,) mean shares of the experts over the seeds."""

    mean: tuple[Number, ...]

    def contradictions(self) -> Iterator[str | None]:
        """They are shares of one whole."""
        yield from (outside(f"mean[{place}]", share, 0, 1, "0 and 1") for place, share in enumerate(self.mean))
        yield other_than("mean", sum(self.mean), 1, "the sum of shares", tolerance=1e-4)


class Behaviour(Record):
    """What a router decides on an input."""

    seeds: tuple[Count, ...]
    metrics: dict[Name, Stat]
    loads: Loads = Field(alias="expert_load")
    layer: dict[Name, LayerOutput]

    def contradictions(self) -> Iterator[str | None]:
        """A seed is drawn from once."""
        yield repeated("seeds", self.seeds)

    @model_validator(mode="after")
    def _give_seeds(self) -> Behaviour:
        for name, metric in self.metrics.items():
            metric.give_seeds(self.seeds, f"metrics.{name}")
        for kind, layer in self.layer.items():
            layer.output_std.give_seeds(self.seeds, f"layer.{kind}.output_std")
            if layer.output_error:
                layer.output_error.give_seeds(self.seeds, f"layer.{kind}.output_error")
        return self

    @property
    def expert_load(self) -> tuple[float, ...]:
        """(E,) mean shares of the experts."""
        return self.loads.mean

    def metric(self, name: str) -> Stat:
        """A metric, without values where the file has none of that name."""
        return self.metrics.get(name, NO_STAT)


class Histogram(Record):
    """Counts between edges, of which there is one more."""

    edges: tuple[Number, ...]
    counts: tuple[Amount, ...]

    def contradictions(self) -> Iterator[str | None]:
        """Bins lie side by side; a layer whose outputs are all equal has bins without width."""
        yield falling("edges", self.edges)

    @model_validator(mode="after")
    def _has_an_edge_more(self) -> Histogram:
        _expect_length("edges", self.edges, len(self.counts) + 1)
        return self


class Sample(Record):
    """What the figures show: one sequence's probabilities and the layer's outputs, of the first seed."""

    sequence_probs: tuple[tuple[Number, ...], ...]
    sequence_tokens: tuple[Text, ...] | None = None
    outputs: dict[Name, Histogram] = Field(alias="output_histogram")

    def contradictions(self) -> Iterator[str | None]:
        """A token's probabilities are shares of one whole, each rounded."""
        for index, row in enumerate(self.sequence_probs):
            path, rounding = f"sequence_probs[{index}]", PROBABILITIES_ROUNDING * len(row)
            yield from (outside(f"{path}[{place}]", prob, 0, 1, "0 and 1") for place, prob in enumerate(row))
            yield other_than(path, sum(row), 1, "the sum of a token's probabilities", tolerance=max(1e-4, rounding))

    @model_validator(mode="after")
    def _has_a_row_a_token(self) -> Sample:
        if self.sequence_tokens:
            _expect_length("sequence_tokens", self.sequence_tokens, len(self.sequence_probs))
        return self


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
        return {"preset": self.preset, "device": self.device, "threads": self.threads, "dtype": self.dtype}

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


class Entry(Measurement):
    """One benchmark: a router in a scenario on an input."""

    subject: Literal["router"] = Field(default="router", exclude=True)
    input: Name
    num_tokens: Size
    batch_size: Size
    sequence_length: Size
    intermediate_size: Size
    flops: Count | None = None
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
        _expect_length("behaviour.expert_load.mean", self.behaviour.expert_load, self.num_experts)
        for index, row in enumerate(self.sample.sequence_probs if self.sample else ()):
            _expect_length(f"figures.sequence_probs[{index}]", row, self.num_experts)
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


class LanguageEntry(Measurement):
    """One benchmark inside a language model, all of whose routers are of one kind; `stock` is the model's own gate."""

    subject: Literal["language_model"]
    initialise: Name
    layers: Size
    num_tokens: Size | None  # an injection handles no token, and a size may then be null
    batch_size: Size | None
    sequence_length: Size | None
    experts_per_token: Positive | None = None

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


def _expect_length(path: str, items: Any, length: int) -> None:
    if len(items) != length:
        message = "{path} has {found} items instead of {length}"
        raise PydanticCustomError("length", message, {"path": path, "found": len(items), "length": length})
