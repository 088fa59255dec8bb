"""What a router decides, typed: the JSON's `behaviour`. Axes: E experts."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from pydantic import Field, model_validator

from reports.records.precision import Precision
from reports.records.record import Count, Name, Number, Record, Share, expect_length
from reports.records.rules import other_than, outside, repeated
from reports.records.stat import NO_STAT, Stat


class LayerOutput(Record):
    """A layer with one kind of experts: its output, and its distance from the feed-forward network it replaces."""

    output_std: Stat
    output_error: Stat | None = None


class Loads(Record):
    """(E,) mean shares of the experts over the seeds."""

    mean: tuple[Number, ...]

    def contradictions(self) -> Iterator[str | None]:
        """They are shares of one whole; or zeros, where no token has an expert."""
        yield from (outside(f"mean[{place}]", share, 0, 1, "0 and 1") for place, share in enumerate(self.mean))
        if any(self.mean):
            yield other_than("mean", sum(self.mean), 1, "the sum of shares", tolerance=1e-4)


class Behaviour(Record):
    """What a router decides on an input."""

    seeds: tuple[Count, ...]
    metrics: dict[Name, Stat]
    loads: Loads = Field(alias="expert_load")
    loads_by_seed: tuple[tuple[Share, ...], ...] | None = Field(default=None, alias="expert_load_by_seed")
    """(seeds, E) shares, from the most to the least loaded expert of each; None where the file does not state them."""
    layer: dict[Name, LayerOutput]
    precision: Precision | None = None

    def contradictions(self) -> Iterator[str | None]:
        """A seed is drawn from once."""
        yield repeated("seeds", self.seeds)
        if self.loads_by_seed:
            for place, share in enumerate(self.loads.mean):
                shares = [loads[place] for loads in self.loads_by_seed if place < len(loads)]
                known = fmean(shares) if shares else None
                yield other_than(
                    f"expert_load.mean[{place}]", share, known, "mean of expert_load_by_seed", tolerance=1e-4
                )

    @model_validator(mode="after")
    def _has_a_share_an_expert(self) -> Behaviour:
        for place, loads in enumerate(self.loads_by_seed or ()):
            expect_length(f"expert_load_by_seed[{place}]", loads, len(self.loads.mean))
        return self

    @model_validator(mode="after")
    def _give_seeds(self) -> Behaviour:
        for name, metric in self.metrics.items():
            metric.give_seeds(self.seeds, f"metrics.{name}")
        for kind, layer in self.layer.items():
            layer.output_std.give_seeds(self.seeds, f"layer.{kind}.output_std")
            if layer.output_error:
                layer.output_error.give_seeds(self.seeds, f"layer.{kind}.output_error")
        if self.precision:
            self.precision.give_seeds(self.seeds, "precision")
        return self

    @property
    def expert_load(self) -> tuple[float, ...]:
        """(E,) mean shares of the experts."""
        return self.loads.mean

    def metric(self, name: str) -> Stat:
        """A metric, without values where the file has none of that name."""
        return self.metrics.get(name, NO_STAT)
