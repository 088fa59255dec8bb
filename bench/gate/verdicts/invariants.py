"""What must not move between revisions without being named: parameters, FLOPs, memory, behaviour."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from bench.gate.errors import GateError
from bench.gate.revisions.facts import Invariants

TIME, CHECK = "time", "check"
"""Invariants that are no numbers of the facts, but can be expected like them: a verdict, and the check of a router."""

EXACT = 0.0
TOLERANCES = {"parameters": EXACT, "flops": EXACT, "peak_memory": 0.01}
"""Relative. Memory may differ by a buffer that an allocator rounds up."""
BEHAVIOUR_TOLERANCE = 1e-4
"""Another order of summation stays within it; one token of two thousand that goes to another expert does not."""
SMALLEST = 1e-6


@dataclass(frozen=True)
class MovedFigure:
    """A figure that differs.

    Attributes:
        benchmark: what has it, "router | random | linear" or "random | linear".
        figure: its name.
        base: value, or None.
        head: value, or None.
        expected: named by the user.
    """

    benchmark: str
    figure: str
    base: float | None
    head: float | None
    expected: bool

    def as_dict(self) -> dict[str, Any]:
        """For the JSON."""
        return asdict(self)


class Expectations:
    """What the user has said will change.

    Args:
        patterns: `FIGURE` or `ROUTER:FIGURE`, both with shell wildcards.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = {pattern: pattern.rpartition(":")[::2] for pattern in patterns}

    def cover(self, name: str, figure: str) -> bool:
        """Whether a figure of a benchmark is named."""
        router = name.rsplit(" | ", 1)[-1]
        return any(
            fnmatchcase(figure, wanted) and fnmatchcase(router, whose or "*")
            for whose, wanted in self._patterns.values()
        )

    def check(self, known: Iterable[tuple[str, str]]) -> None:
        """Refuse what names nothing, which would hide a misspelling.

        Args:
            known: (benchmark, figure) pairs.

        Raises:
            GateError: a pattern that matches no figure.
        """
        pairs = {(name.rsplit(" | ", 1)[-1], figure) for name, figure in known}
        for pattern, (whose, wanted) in self._patterns.items():
            if not any(fnmatchcase(figure, wanted) and fnmatchcase(router, whose or "*") for router, figure in pairs):
                figures = ", ".join(sorted({figure for _, figure in pairs}))
                raise GateError(f"--expect {pattern!r} names no figure of these benchmarks; there are: {figures}")


def compare_invariants(base: Invariants, head: Invariants, expectations: Expectations) -> tuple[list[MovedFigure], int]:
    """Those that differ, and how many both have."""
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
