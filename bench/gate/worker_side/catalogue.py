"""A benchmark by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Benchmark:
    """One scenario on one input with one router."""

    scenario: str
    input: str
    router: str

    def __str__(self) -> str:
        return f"{self.scenario} | {self.input} | {self.router}"

    @classmethod
    def parse(cls, name: str) -> Benchmark:
        """The inverse of `str`."""
        scenario, input_name, router = name.split(" | ", 2)
        return cls(scenario, input_name, router)
