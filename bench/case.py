"""What one benchmark of the suite measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


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
