"""What one benchmark of the suite measures, and what is asked of those who can measure it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Case:
    """One benchmark.

    Attributes:
        scenario: what a call does.
        router: registered name, or "stock", a language model's own.
        input: what the router is given; empty for a language model, which reads its text.
    """

    scenario: str
    router: str
    input: str = ""

    def __str__(self) -> str:
        return " | ".join(filter(None, (self.scenario, self.input, self.router)))

    @classmethod
    def parse(cls, name: str) -> Case:
        """The case of a router on an input that `str` has written."""
        scenario, input_name, router = name.split(" | ", 2)
        return cls(scenario, router, input_name)


Replay = Callable[[Case], None]
"""Measures a case if that has not happened yet, and hands its durations to pytest-benchmark."""


class Suite(Protocol):
    """Measures the scenarios of one subject, routers by themselves or inside a language model, and remembers."""

    @property
    def subject(self) -> str:
        """Whose scenarios it measures: `Scenario.subject`."""

    def plan(self, case: Case) -> None:
        """Note that a benchmark will ask for a case: it is measured together with the others of its group."""

    def check(self, case: Case) -> None:
        """See whether the router is right and make one call, without timing anything; raises what is wrong."""

    def durations(self, case: Case) -> list[int]:
        """All rounds of a case, nanoseconds; raises what was wrong with the router, if it was not timed."""

    def extra_info(self, case: Case) -> dict[str, Any]:
        """The JSON entry of a case, as docs/json.md describes it."""

    def label(self, case: Case) -> str:
        """The group of a case, for pytest-benchmark's tables."""

    def summary(self) -> dict[str, Any]:
        """Its part of the JSON's `study`: what holds for all its benchmarks."""
