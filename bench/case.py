"""What one benchmark of the suite measures, and what is asked of those who can measure it."""

from __future__ import annotations

from collections.abc import Collection
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
        return f"{self.scenario} | {self.input} | {self.router}"

    @classmethod
    def parse(cls, name: str) -> Case:
        """The inverse of `str`."""
        scenario, input_name, router = name.split(" | ", 2)
        return cls(scenario, router, input_name)


class Part(Protocol):
    """One kind of scenarios of a run: measures on demand and remembers."""

    @property
    def scenarios(self) -> Collection[str]:
        """The names of those that it measures."""

    def plan(self, case: Case) -> None:
        """A benchmark will ask for this: it is measured together with the others of its group."""

    def check(self, case: Case) -> None:
        """See whether the router is right and make one call, without timing anything; raises what is wrong."""

    def durations(self, case: Case) -> list[int]:
        """All rounds, nanoseconds; raises what was wrong with the router, if it was not timed."""

    def extra_info(self, case: Case) -> dict[str, Any]:
        """The JSON entry of the benchmark, as README.md beside this file describes it."""

    def label(self, case: Case) -> str:
        """The benchmark's group, for pytest-benchmark's tables."""

    def summary(self) -> dict[str, Any]:
        """Its part of the JSON's `study`: what holds for all its benchmarks."""
