"""Reads a self-test of the gate: what it found of slowdowns of known size, and how often it cried wolf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from reports.format.machine import describe
from reports.loading.check import check
from reports.loading.document import SELF_TEST, about, expect_kind, read_document
from reports.loading.gate_file import Commit, Named
from reports.records.record import Count, Number, Positive, Record, Text

SCHEMA = 1
_FOUND = "SLOWER"


@dataclass(frozen=True)
class Share:
    """So many of so many, with Wilson's 95 % interval of the share; all are None where nothing was tried."""

    hits: int
    trials: int
    low: float | None
    high: float | None

    @property
    def share(self) -> float | None:
        """Hits over trials."""
        return self.hits / self.trials if self.trials else None


class Estimate(Record):
    """Mean and standard deviation of the ratios that were estimated."""

    mean: Number | None
    sd: Number | None


class Level(Record):
    """One slowdown, a share of one, and what became of the trials."""

    slowdown: Number
    hits: Count = Field(alias="found")
    trials: Count
    low: Number | None
    high: Number | None
    verdicts: dict[str, Count]
    estimate: Estimate | None = None

    @model_validator(mode="after")
    def _finds_no_more_than_was_tried(self) -> Level:
        _expect_hits("found", self.hits, self.trials)
        return self

    @property
    def found(self) -> Share:
        """The trials whose slowdown was found."""
        return Share(self.hits, self.trials, self.low, self.high)

    @property
    def missed(self) -> Mapping[str, int]:
        """Verdict -> trials, of those that are not found."""
        return {verdict: trials for verdict, trials in self.verdicts.items() if verdict != _FOUND}

    @property
    def mean(self) -> float | None:
        """Of the ratios estimated."""
        return self.estimate.mean if self.estimate else None

    @property
    def sd(self) -> float | None:
        """Of the ratios estimated."""
        return self.estimate.sd if self.estimate else None


class FalseAlarms(Record):
    """Whole runs of a revision against itself, and what became of their single comparisons."""

    hits: Count = Field(alias="alarms")
    trials: Count
    low: Number | None
    high: Number | None
    comparisons: Count
    verdicts: dict[str, Count]

    @model_validator(mode="after")
    def _raises_no_more_than_was_tried(self) -> FalseAlarms:
        _expect_hits("alarms", self.hits, self.trials)
        return self

    @property
    def alarms(self) -> Share:
        """The runs with an alarm."""
        return Share(self.hits, self.trials, self.low, self.high)


class SelfTest(Record):
    """A self-test with its levels, the smallest slowdown first: the JSON of `python -m bench.gate --self-test`."""

    tested: Commit = Field(alias="revision")
    preset: Named
    device: Text
    threads: Count
    machine_fields: dict[str, Any] = Field(alias="machine")
    threshold: Positive
    benchmarks: tuple[Text, ...]
    levels: tuple[Level, ...]
    false_alarms: FalseAlarms

    @field_validator("levels")
    @classmethod
    def _by_slowdown(cls, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        if not levels:
            raise PydanticCustomError("empty", "holds no slowdown")
        return tuple(sorted(levels, key=lambda level: level.slowdown))

    @property
    def revision(self) -> str:
        """The revision that was tested, in words."""
        return f"{self.tested.ref} {self.tested.commit[:8]} {self.tested.subject}"

    @property
    def setting(self) -> str:
        """How it was measured, in words."""
        threads = f"{self.threads} {'thread' if self.threads == 1 else 'threads'}"
        return f"preset {self.preset.name}, device {self.device}, {threads}"

    @property
    def machine(self) -> str:
        """The machine in one line."""
        return describe(self.machine_fields)


def load_self_test(path: Path) -> SelfTest:
    """The self-test that a file holds, or a `ReportError` that names the file and what is wrong with it."""
    with about(path):
        document = read_document(path)
        expect_kind(document, SELF_TEST, SCHEMA)
        return check(SelfTest, document)


def _expect_hits(name: str, hits: int, trials: int) -> None:
    if hits > trials:
        raise PydanticCustomError(
            "length", "{name} is {hits} of {trials}", {"name": name, "hits": hits, "trials": trials}
        )
