"""Values that must not move between revisions unless the user expects it: parameters, FLOPs, memory, behaviour."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bench.gate.errors import GateError
from bench.gate.revisions.facts import Invariants

TIME, CHECK = "time", "check"
"""Names that can be expected beside the invariants: a verdict on the time, and the check of a router."""

EXACT = 0.0
TOLERANCES = {"parameters": EXACT, "flops": EXACT, "peak_memory": 0.01}
"""Relative tolerances. Memory may differ by a buffer that an allocator rounds up."""
BEHAVIOUR_TOLERANCE = 1e-4
"""Another order of summation stays within it; one token of two thousand that goes to another expert does not."""
SMALLEST = 1e-6


@dataclass(frozen=True)
class MovedFigure:
    """A value that differs between the revisions.

    Attributes:
        benchmark: "router | random | linear", or "random | linear" for the behaviour of a router on an input.
        figure: the name of the count or metric.
        base: the value in base, or None.
        head: the value in head, or None.
        expected: whether the user has said that it will change.
    """

    benchmark: str
    figure: str
    base: float | None
    head: float | None
    expected: bool


class Expectations:
    """The values and verdicts that the user has said will change.

    Args:
        patterns: `FIGURE` or `ROUTER:FIGURE`, both with shell wildcards.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns

    def cover(self, benchmark: str, figure: str) -> bool:
        """Whether a pattern names a value of a benchmark."""
        return any(_matches(pattern, benchmark, figure) for pattern in self._patterns)

    def check(self, known: Iterable[tuple[str, str]]) -> None:
        """Refuse a pattern that names nothing, which would hide a misspelling.

        Args:
            known: (benchmark, figure) pairs.

        Raises:
            GateError: a pattern that matches no figure.
        """
        known = list(known)
        for pattern in self._patterns:
            if not any(_matches(pattern, benchmark, figure) for benchmark, figure in known):
                figures = ", ".join(sorted({figure for _, figure in known}))
                raise GateError(f"--expect {pattern!r} names no figure of these benchmarks; there are: {figures}")


def _matches(pattern: str, benchmark: str, figure: str) -> bool:
    router_pattern, _, figure_pattern = pattern.rpartition(":")
    router = benchmark.rsplit(" | ", 1)[-1]
    return fnmatchcase(figure, figure_pattern) and fnmatchcase(router, router_pattern or "*")


def compare_invariants(base: Invariants, head: Invariants, expectations: Expectations) -> tuple[list[MovedFigure], int]:
    """The values that differ, and how many values both revisions have."""
    shared = [key for key in base if key in head]
    moved = [
        MovedFigure(name, figure, base[name, figure], head[name, figure], expectations.cover(name, figure))
        for name, figure in shared
        if not _equal(figure, base[name, figure], head[name, figure])
    ]
    return moved, len(shared)


def _equal(figure: str, base: float | None, head: float | None) -> bool:
    if base is None or head is None:
        return base is head
    tolerance = TOLERANCES.get(figure, BEHAVIOUR_TOLERANCE)
    return math.isclose(base, head, rel_tol=tolerance, abs_tol=0.0 if tolerance == EXACT else SMALLEST)
