"""What the fields of a record say against each other, in words that begin with a field's path and hold both figures.

A record lists its rules in `contradictions`, a line each, beside the fields that they are about: a new field gets its
rule there. What is derived from other fields is derived again and compared, so that nobody reads two figures for one
thing. Files hold what a program has rounded to the last digit or two of a float: equal is equal within `TOLERANCE`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

TOLERANCE = 1e-6
"""Relative. Doubles lose 1e-16 an operation, float32 6e-8: what a file derives from others stays well within it."""


def other_than(
    path: str,
    found: float | None,
    expected: float | None,
    what: str,
    *,
    scale: float = 0.0,
    tolerance: float = TOLERANCE,
) -> str | None:
    """Where a figure is not what others make it; one that does not exist says nothing.

    Args:
        path: of the figure in the record.
        found: the figure.
        expected: what it has to be; None where it may not exist.
        what: what that is, in words.
        scale: of what it was derived from, where that is larger than the figure itself: differences cancel digits.
        tolerance: relative to the largest of all.
    """
    if found is None:
        return None
    if expected is None:
        return f"{path} is {figure(found)}, and there is no {what}"
    within = math.isclose(found, expected, rel_tol=tolerance, abs_tol=tolerance * scale)
    return None if within else f"{path} is {figure(found)}, not {figure(expected)}, {what}"


def outside(
    path: str, found: float | None, low: float | None, high: float | None, between: str, tolerance: float = TOLERANCE
) -> str | None:
    """Where a figure leaves its bounds, of which either may not exist; equal is inside."""
    for bound, sign in ((low, 1), (high, -1)):
        if found is not None and bound is not None and sign * (bound - found) > tolerance * max(1.0, abs(bound)):
            return f"{path} is {figure(found)}, not within {between}"
    return None


def above(path: str, found: float | None, limit: float | None, what: str, tolerance: float = TOLERANCE) -> str | None:
    """Where a figure is larger than another; neither need exist."""
    if found is None or limit is None or found <= limit * (1 + tolerance):
        return None
    return f"{path} is {figure(found)}, above {what} {figure(limit)}"


def repeated(path: str, items: Sequence[object]) -> str | None:
    """Where a list holds something twice that may be there once."""
    seen: set[object] = set()
    for item in items:
        if item in seen:
            return f"{path} has {str(item)[:80]!r} twice"
        seen.add(item)
    return None


def falling(path: str, figures: Iterable[float]) -> str | None:
    """Where a list goes down."""
    before = -math.inf
    for place, value in enumerate(figures):
        if value < before:
            return f"{path}[{place}] is {figure(value)}, below {figure(before)} before it"
        before = value
    return None


def figure(value: float) -> str:
    """Nine digits: more than the tolerance, few enough for a line."""
    return f"{value:.9g}" if isinstance(value, float) else str(value)
