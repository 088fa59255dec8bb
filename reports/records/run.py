"""The records of metrics, scenarios and inputs in the JSON's `study`: what a report has to know of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from pydantic import Field

from reports.records.peers import PeerRecords
from reports.records.record import Amount, Count, Flag, Name, Number, Ratio, Record, Text
from reports.records.rules import above

Bound = Number | Literal["ln E", "E - 1", "1 - 1/E"] | None
_BOUNDS: dict[str, Callable[[int], float]] = {
    "ln E": math.log,
    "E - 1": lambda experts: experts - 1,
    "1 - 1/E": lambda experts: 1 - 1 / experts,
}


class MetricRecord(Record):
    """What a metric is called, what it is, and how a table shows it; `paper` for the paper's tables alone."""

    label: Name
    definition: Text
    unit: Name | None = None
    range: tuple[Bound, Bound] = (None, None)
    better: Literal["lower", "higher"] | None = None
    format: Annotated[Text, Field(pattern=r"^\.[0-9]{1,2}[efg%]$")] = ".3f"
    paper: Flag = False

    def contradictions(self) -> Iterator[str | None]:
        """The range has its lower end first, for the fewest experts too."""
        yield above("range[0]", *self.bounds(2), "range[1]")

    def bounds(self, experts: int) -> tuple[float | None, float | None]:
        """Between which values it lies with so many experts; None where there is no bound."""
        low, high = (_BOUNDS[bound](experts) if isinstance(bound, str) else bound for bound in self.range)
        return low, high


class ScenarioRecord(Record):
    """What one call of a scenario does, and with what: a router, or a language model."""

    label: Name
    description: Text
    subject: Name


class InputRecord(Record):
    """What routers are given under a name, whether it is timed in every scenario, and at what sizes, if at others.

    `sizes` is what the input's name ends with, after an @.
    """

    label: Name
    description: Text
    timed: Flag = False
    text: Name | None = None
    sizes: Name | None = None


class PrecisionRecord(Record):
    """What was compared with float64 under a name."""

    label: Name
    definition: Text


class NoiseRecord(Record):
    """How far equal code differed in a group, and the smallest difference, a share of one, that the group can tell."""

    scenario: Name
    input: Name
    noise_floor: Ratio
    resolution: Amount


class RunRecords(Record):
    """The records of what a run has measured, by name and in order, and how many benchmarks it was to measure."""

    planned: Count | None = None
    noise: tuple[NoiseRecord, ...] = ()
    metrics: dict[Name, MetricRecord] = Field(default_factory=dict)
    scenarios: dict[Name, ScenarioRecord] = Field(default_factory=dict)
    inputs: dict[Name, InputRecord] = Field(default_factory=dict)
    precisions: dict[Name, PrecisionRecord] = Field(default_factory=dict)
    peers: PeerRecords = Field(default_factory=PeerRecords)
