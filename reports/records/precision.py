"""What a precision does to a router's decisions, typed: the JSON's `behaviour.precision`."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field, model_validator

from reports.records.record import Count, Name, Record, Text
from reports.records.rules import outside, repeated
from reports.records.stat import NO_STAT, Stat

_BOUNDS = {"changed_tokens": 1, "flip_rate": 1, "moved_weight": 1}
"""The shares; every other quantity has no bound but 0."""


class Changes(Record):
    """How decisions in one precision differ from float64's, each quantity over the seeds."""

    changed_tokens: Stat
    flip_rate: Stat
    rank_margin_median: Stat
    rank_margin_p05: Stat = NO_STAT
    weight_error: Stat = NO_STAT
    moved_weight: Stat = NO_STAT

    def contradictions(self) -> Iterator[str | None]:
        """Shares are shares, nothing is below 0, and a token's set is another where an assignment is."""
        for name, stat in self.stats.items():
            for place, value in enumerate(stat.values):
                high = _BOUNDS.get(name)
                between = "0 and 1" if high else "0 and above"
                yield outside(f"{name}.values[{place}]", value, 0, high, between)
        for place, both in enumerate(zip(self.changed_tokens.values, self.flip_rate.values, strict=False)):
            if None not in both and bool(both[0]) is not bool(both[1]):
                yield f"flip_rate.values[{place}] is {both[1]:.9g}, and changed_tokens.values[{place}] {both[0]:.9g}"

    @property
    def stats(self) -> dict[str, Stat]:
        """By the name of the quantity."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    def give_seeds(self, seeds: tuple[int, ...], path: str) -> None:
        """To every quantity that the file has."""
        for name in self.model_fields_set:
            getattr(self, name).give_seeds(seeds, f"{path}.{name}")


class Precision(Record):
    """The changes of every precision that was compared with float64.

    Attributes:
        undefined: why some quantities, or all, do not exist.
        compared: name of a precision -> changes; inside a language model those of all layers together.
        layers: path of a layer's block -> precision -> changes; empty of a router by itself.
    """

    undefined: Text | None = None
    compared: dict[Name, Changes]
    layers: dict[Name, dict[Name, Changes]] = Field(default_factory=dict)

    def give_seeds(self, seeds: tuple[int, ...], path: str) -> None:
        """To every quantity, so that each value is a seed's."""
        for name, changes in self.compared.items():
            changes.give_seeds(seeds, f"{path}.compared.{name}")
        for layer, compared in self.layers.items():
            for name, changes in compared.items():
                changes.give_seeds(seeds, f"{path}.layers.{layer}.{name}")

    def stat(self, precision: str, quantity: str) -> Stat:
        """A quantity of a precision, without values where the file has none."""
        return getattr(self.compared[precision], quantity) if precision in self.compared else NO_STAT


class LanguageBehaviour(Record):
    """What routers inside a language model decide at its layers; a seed draws the routers and takes a passage."""

    seeds: tuple[Count, ...]
    precision: Precision | None = None

    def contradictions(self) -> Iterator[str | None]:
        """A seed is drawn from once."""
        yield repeated("seeds", self.seeds)

    @model_validator(mode="after")
    def _give_seeds(self) -> LanguageBehaviour:
        if self.precision:
            self.precision.give_seeds(self.seeds, "precision")
        return self
