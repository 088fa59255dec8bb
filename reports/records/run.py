"""The records of metrics, scenarios and inputs in the JSON's `study`: what a report has to know of each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reports.records.record import Count, Flag, Number, Ratio, Record, Text

Bound = Number | Literal["ln E", "E - 1", "1 - 1/E"] | None


class MetricRecord(Record):
    """What a metric is called, what it is, and how a table shows it; `paper` for the paper's tables alone."""

    label: Text
    definition: Text
    unit: Text | None = None
    range: tuple[Bound, Bound] = (None, None)
    better: Literal["lower", "higher"] | None = None
    format: Annotated[Text, Field(pattern=r"^\.[0-9]{1,2}[efg%]$")] = ".3f"
    paper: Flag = False


class ScenarioRecord(Record):
    """What one call of a scenario does, and with what: a router, or a language model."""

    label: Text
    description: Text
    subject: Text


class InputRecord(Record):
    """What routers are given under a name, and whether it is timed in every scenario."""

    label: Text
    description: Text
    timed: Flag = False
    text: Text | None = None


class NoiseRecord(Record):
    """How far equal code differed in a group, and the smallest difference, a share of one, that the group can tell."""

    scenario: Text
    input: Text
    noise_floor: Ratio
    resolution: Number


class RunRecords(Record):
    """The records of what a run has measured, by name and in order, and how many benchmarks it was to measure."""

    planned: Count | None = None
    noise: tuple[NoiseRecord, ...] = ()
    metrics: dict[str, MetricRecord] = Field(default_factory=dict)
    scenarios: dict[str, ScenarioRecord] = Field(default_factory=dict)
    inputs: dict[str, InputRecord] = Field(default_factory=dict)
