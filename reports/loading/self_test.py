"""Reads a self-test of the gate: what it found of slowdowns of known size, and how often it cried wolf."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from reports.format.machine import describe
from reports.loading.check import check
from reports.loading.document import SELF_TEST, about, expect_kind, read_document
from reports.loading.gate_file import Commit, Named
from reports.records.record import Amount, Case, Count, Name, Positive, Record, Text
from reports.records.record import Share as Portion
from reports.records.rules import above, other_than, repeated

SCHEMA = 1
_FOUND = "SLOWER"
_Z = 1.959963984540054  # of 95 %
WILSON_ROUNDING = 1e-3
"""A share is shown in tenths of a percent."""


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

    mean: Positive | None
    sd: Amount | None


class Level(Record):
    """One slowdown, a share of one, and what became of the trials."""

    slowdown: Amount
    hits: Count = Field(alias="found")
    trials: Count
    low: Portion | None
    high: Portion | None
    verdicts: dict[Name, Count]
    estimate: Estimate | None = None

    def contradictions(self) -> Iterator[str | None]:
        """A verdict a trial, SLOWER where it was found, and the interval is Wilson's."""
        yield _too_many("found", self.hits, self.trials)
        yield other_than("trials", self.trials, sum(self.verdicts.values()), "the sum of verdicts")
        yield other_than("found", self.hits, self.verdicts.get(_FOUND, 0), f"verdicts.{_FOUND}")
        yield from _not_wilson(self.found)

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
    low: Portion | None
    high: Portion | None
    comparisons: Count
    verdicts: dict[Name, Count]

    def contradictions(self) -> Iterator[str | None]:
        """A verdict a comparison, at least one SLOWER an alarm, and the interval is Wilson's."""
        slower = self.verdicts.get(_FOUND, 0)
        yield _too_many("alarms", self.hits, self.trials)
        yield other_than("comparisons", self.comparisons, sum(self.verdicts.values()), "the sum of verdicts")
        yield above("alarms", self.hits, slower, f"verdicts.{_FOUND}")
        yield f"alarms is 0, and verdicts.{_FOUND} is {slower}" if slower and not self.hits else None
        yield from _not_wilson(self.alarms)

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
    benchmarks: tuple[Case, ...]
    levels: tuple[Level, ...]
    false_alarms: FalseAlarms

    def contradictions(self) -> Iterator[str | None]:
        """A slowdown has one level."""
        yield repeated("levels", [level.slowdown for level in self.levels])

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


def _too_many(name: str, hits: int, trials: int) -> str | None:
    return f"{name} is {hits} of {trials}" if hits > trials else None


def _not_wilson(found: Share) -> Iterator[str | None]:
    """Where the bounds of a share are not Wilson's (1927), of 95 %."""
    if not found.trials or found.share is None:
        yield (
            "low and high are bounds of a share of nothing" if found.low is not None or found.high is not None else None
        )
        return
    z2 = _Z**2 / found.trials
    reach = math.sqrt(z2 * (found.share * (1 - found.share) + z2 / 4))
    for name, stated, sign in (("low", found.low, -1), ("high", found.high, 1)):
        bound = (found.share + z2 / 2 + sign * reach) / (1 + z2)
        what = f"Wilson's bound of {found.hits} of {found.trials}"
        yield other_than(name, stated, bound, what, scale=1, tolerance=WILSON_ROUNDING)
