"""A history for a terminal: the sentence, what to know, and the newest steps, or the runs where there is one alone."""

from __future__ import annotations

from collections.abc import Sequence

from reports.format.escape import one_line, shorten
from reports.format.numbers import DASH
from reports.format.render import align
from reports.history.folder import Stored
from reports.history.series import Series
from reports.history.words import machines, ratio_words, remarks, steps_of, summary

_SHOWN = 20
_LONGEST = 60
_HEADINGS = ("commit", "date", "benchmark", "metric", "before", "after", "after / before")
_ARE_NUMBERS = (False, False, False, False, True, True, True)


def to_terminal(stored: Stored, series: Sequence[Series]) -> str:
    """All of it as lines."""
    found = steps_of(series)
    table = [
        (
            change.after.run.label,
            f"{change.after.run.time:%Y-%m-%d}",
            shorten(one_line(each.benchmark), _LONGEST),
            each.metric.name,
            each.metric.show(change.was),
            each.metric.show(change.is_),
            ratio_words(change.ratio),
        )
        for each, change in found[:_SHOWN]
    ]
    rows = [align([_HEADINGS, *table], _ARE_NUMBERS)] if table else []
    more = [f"and {len(found) - _SHOWN:,} more steps, on the page"] if len(found) > _SHOWN else []
    alone = [_runs(stored)] if len(stored.runs) == 1 else []
    lines = [*map(one_line, (summary(stored, series), *remarks(stored, series))), *alone, *rows, *more]
    return "\n".join(lines)


def _runs(stored: Stored) -> str:
    names = machines(stored.runs)
    cells = [
        (run.label, f"{run.date:%Y-%m-%d %H:%M}" if run.date else DASH, run.file, run.source.preset,
         str(len(run.measurements)), names[run.conditions])
        for run in stored.runs
    ]  # fmt: skip
    return align(
        [("commit", "measured", "file", "preset", "benchmarks", "machine"), *cells], (False,) * 4 + (True, False)
    )
