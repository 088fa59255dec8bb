"""A comparison for a terminal: what is compared, the table, what else moved, and the outcome as the last line."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from reports.comparisons.comparison import Comparison, Row
from reports.comparisons.words import (
    ARE_NUMBERS,
    HEADINGS,
    cells,
    counted,
    moved_cells,
    name,
    notes,
    ratio_words,
    sentence,
    side,
)
from reports.format.escape import one_line
from reports.format.render import align

# More equal rows than this are counted and not shown, unless all are asked for.
_SAME_SHOWN = 12
# Likewise for figures and names.
_LIST_SHOWN = 20
# More rows that have the same to say are counted.
_ALIKE = 3
_WIDTH = 120
_ALL = "--all shows them"


def to_terminal(comparison: Comparison, *, show_all: bool = False) -> str:
    """All of it as lines; `show_all` leaves nothing out."""
    limit = None if show_all else _LIST_SHOWN
    paragraphs = [
        _head(comparison),
        _table(comparison, show_all),
        _notes(comparison, show_all),
        _listed(_figures_title(comparison), _figures(comparison), limit),
        _listed("Not compared:", [f"{name(e.benchmark)}: {sentence(e.reason)}" for e in comparison.excluded], limit),
        _listed("Only in head:", [name(benchmark) for benchmark in comparison.added], limit),
        _listed("Only in base:", [name(benchmark) for benchmark in comparison.removed], limit),
        _mean(comparison),
        _outcome(comparison, limit),
    ]
    return "\n\n".join("\n".join(map(one_line, lines)) for lines in paragraphs if lines)


def _head(comparison: Comparison) -> list[str]:
    sides = [("base", *side(comparison.base)), ("head", *side(comparison.head))]
    lines = align(sides, [False] * 4).split("\n")
    lines.append(", ".join(map(sentence, comparison.setting)))
    lines.append(sentence(comparison.machine))
    lines += [f"  {name(d.field)}: {sentence(d.base)} / {sentence(d.head)}" for d in comparison.machine_differences]
    lines += [f"Note: {sentence(notice)}" for notice in comparison.notices]
    return lines + wrap(comparison.caveat or "", _WIDTH)


def _table(comparison: Comparison, show_all: bool) -> list[str]:
    same = comparison.same
    folded = len(same) > _SAME_SHOWN and not show_all
    rows: Sequence[Row] = comparison.changed if folded else comparison.rows
    lines = align([HEADINGS, *map(cells, rows)], ARE_NUMBERS).split("\n") if rows else []
    if folded:
        lines.append(f"{counted(len(same), 'benchmark is', 'benchmarks are')} the same ({_ALL})")
    return lines


def _notes(comparison: Comparison, show_all: bool) -> list[str]:
    lines = []
    for words, rows in notes(comparison.rows):
        shown = rows if show_all or len(rows) <= _ALIKE else rows[:1]
        more = f" (and {len(rows) - 1:,} more benchmarks likewise)" if len(shown) < len(rows) else ""
        lines += [f"{name(row.benchmark)}: {row.change}: {words}{more}" for row in shown]
    return lines


def _figures_title(comparison: Comparison) -> str:
    return f"Figures that moved, of {comparison.figures_compared:,} compared:"


def _figures(comparison: Comparison) -> list[str]:
    rows = [(*cells[:3], "→", *cells[3:]) for cells in map(moved_cells, comparison.moved)]
    return align(rows, [False, False, True, False, True, False]).split("\n") if rows else []


def _listed(title: str, items: Sequence[str], limit: int | None) -> list[str]:
    shown = items[:limit]
    missing = len(items) - len(shown)
    more = [f"  and {missing:,} more ({_ALL})"] if missing else []
    return [title, *(f"  {item}" for item in shown), *more] if items else []


def _mean(comparison: Comparison) -> list[str]:
    if comparison.geometric_mean is None:
        return []
    over = counted(comparison.timed, "benchmark", "benchmarks")
    return [f"Geometric mean of head / base over {over}: {ratio_words(comparison.geometric_mean)}"]


def _outcome(comparison: Comparison, limit: int | None) -> list[str]:
    reasons = [sentence(reason).rstrip(".") for reason in comparison.reasons]
    if len(reasons) > 1:
        return _listed(f"{comparison.headline}:", [f"{reason}." for reason in reasons], limit)
    return [f"{': '.join([comparison.headline, *reasons])}."]
