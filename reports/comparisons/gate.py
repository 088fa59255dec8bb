"""The result of the regression gate, two revisions timed in turn, as a `Comparison`."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from reports.comparisons.comparison import Change, Comparison, MovedFigure, Row, Side, ordered
from reports.comparisons.words import counted
from reports.format.machine import describe
from reports.format.numbers import within
from reports.loading.gate_file import Commit, GateDocument, read_gate

_NO_REGRESSION = 0
_HEADLINES = {_NO_REGRESSION: "No regression", 1: "Regression", 3: "Nothing to compare"}
_NOT_SETTLED = "Not settled"


def load_gate(path: Path) -> Comparison:
    """The comparison that a gate's file holds, or a `ReportError` that names the file and what is wrong with it."""
    found = read_gate(path)
    rows = ordered(
        Row(
            benchmark=row.benchmark,
            base_us=row.base_us,
            head_us=row.head_us,
            ratio=row.ratio,
            floor=row.floor,
            change=Change(row.verdict),
            reason=row.reason,
            first_look=row.first_look,
            expected=row.expected,
        )
        for row in found.rows
    )
    unsettled = _unsettled(found) if found.outcome.exit_code == _NO_REGRESSION else 0
    return Comparison(
        marker="moe-router-gate",
        title="Router benchmarks",
        headline=_NOT_SETTLED if unsettled else _HEADLINES[found.outcome.exit_code],
        reasons=(*found.outcome.reasons, *([_doubt(unsettled, found.threshold)] if unsettled else [])),
        caveat=None,
        base=_side(found.base),
        head=_side(found.head),
        setting=_setting(found),
        machine=f"machine: {describe(found.machine)}",
        machine_differences=(),
        notices=found.notices,
        rows=rows,
        moved=tuple(
            MovedFigure(each.benchmark, each.figure, each.base, each.head, each.expected) for each in found.figures
        ),
        figures_compared=found.figures_compared,
        excluded=(),
        added=found.added,
        removed=found.removed,
        geometric_mean=found.geometric_mean,
        reading=_reading(found, [row.floor for row in rows if row.floor is not None]),
        threshold=found.threshold,
    )


def _unsettled(found: GateDocument) -> int:
    """How many benchmarks may well be slower than the threshold allows, though nothing proves it."""
    uncertain = [row for row in found.rows if row.verdict == "UNCERTAIN" and not row.expected]
    return sum(row.ratio is None or row.ratio.estimate > 1 + found.threshold for row in uncertain)


def _doubt(unsettled: int, threshold: float) -> str:
    benchmarks = counted(unsettled, "benchmark", "benchmarks")
    return f"more than {100 * threshold:g} % slower, but not proved: {benchmarks}; --budget or --select settle more"


def _side(commit: Commit) -> Side:
    return Side(commit.ref, commit.commit, commit.subject)


def _setting(found: GateDocument) -> tuple[str, ...]:
    pairs = [row.pairs for row in found.rows]
    phrases = [f"preset {found.preset.name}"]
    phrases += [f"only “{found.select}”"] if found.select else []
    phrases += [f"device {found.device}", f"{found.threads} {'thread' if found.threads == 1 else 'threads'}"]
    phrases += [f"{_range(pairs)} pairs of fresh processes"] if any(pairs) else []
    return (*phrases, f"{found.elapsed_s:,.0f} s")


def _range(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _reading(found: GateDocument, floors: list[float]) -> tuple[str, ...]:
    noise = "nothing was timed"
    if floors:
        noise = f"it was {within(median(floors))} in the median and {within(max(floors))} at worst"
    same = f"is proved to lie within {100 * found.margin:g} %" if found.margin else "lies within"
    return (
        "Ratio: time of head over time of base, with its 95 % interval over pairs of fresh processes that took turns.",
        f"Noise: by how much equal code misses 1 in this very run; {noise}.",
        f"SLOWER and FASTER are proved, in further processes too, beyond {100 * found.threshold:g} % and beyond "
        f"{found.floor_multiple:g} times the noise; SAME {same}; UNCERTAIN is neither.",
    )
