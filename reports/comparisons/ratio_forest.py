"""Run against run: a router's ratio to the baseline in base and in head, a row a router, and what follows in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from reports.comparisons.forest import BOTTOM, LEFT, RIGHT, ROW, TOP, WIDTH, foot
from reports.comparisons.ratios import RatioRow
from reports.comparisons.words import name, ratio_words
from reports.format.escape import shorten
from reports.format.numbers import listing, ratio
from reports.format.svg import LogAxis, element, log_axis, text
from reports.judging.standing import Standing

_LONGEST = 40
_MOST_NAMED = 6
# Beyond so many times the estimates an interval's ends would squeeze everything else.
_FAR = 3.0
COLOURS = {Standing.SLOWER: "poor", Standing.FASTER: "good"}
"""How head's ratio stands to base's -> the page's colour for it; where they cannot be told apart, there is none."""


def ratio_forest(rows: Sequence[RatioRow]) -> str:
    """The SVG of a group: base's ratio hollow, head's below it filled, each with its interval."""
    estimates = [each.estimate for row in rows for each in (row.base, row.head)]
    least, most = min(estimates) / _FAR, max(estimates) * _FAR
    ends = [end for row in rows for each in (row.base, row.head) for end in (each.low, each.high) if end]
    axis = log_axis([1.0, *estimates, *(min(max(end, least), most) for end in ends)], LEFT, RIGHT)
    bottom = TOP + ROW * len(rows)
    parts = [
        element("line", x1=axis(1), x2=axis(1), y1=TOP - 4, y2=bottom + 4, stroke="var(--quiet)"),
        text("○ base   ● head", LEFT, 14, fill="var(--quiet)"),
        text("base → head", RIGHT + 12, 14, fill="var(--quiet)"),
        *(part for index, row in enumerate(rows) for part in _row(row, axis, TOP + ROW * (index + 0.5))),
        *foot(axis, bottom),
    ]
    return element("svg", *parts, viewBox=f"0 0 {WIDTH:g} {bottom + BOTTOM:g}", font_size="12", class_="wide")


def _row(row: RatioRow, axis: LogAxis, y: float) -> Iterator[str]:
    colour = f"var(--{COLOURS.get(row.standing, 'link')})"
    yield text(shorten(name(row.router), _LONGEST), LEFT - 12, y + 4, text_anchor="end")
    for found, at, fill in ((row.base, y - 4, "var(--paper)"), (row.head, y + 4, colour)):
        if found.low is not None and found.high is not None:
            ends = {"x1": axis(found.low), "x2": axis(found.high)}
            yield element("line", **ends, y1=at, y2=at, stroke=colour, stroke_width=1.5)
        yield element("circle", cx=axis(found.estimate), cy=at, r=3.5, fill=fill, stroke=colour, stroke_width=1.5)
    words = f"{ratio(row.base.estimate)} → {ratio_words(row.head)}"
    yield text(words, RIGHT + 12, y + 4, style="font-variant-numeric: tabular-nums")


def conclusion(rows: Sequence[RatioRow]) -> str:
    """Who has become slower or faster beside its baseline, in a sentence."""
    found = sorted((row for row in rows if row.apart), key=lambda row: -abs(_log(row)))
    if not found:
        return f"None of {len(rows):,} ratios to the baseline differs by more than the intervals allow."
    said = [f"{name(row.router)} in {name(row.group)}: {row.standing}, by {_factor(row)}" for row in found]
    more = f" and {len(said) - _MOST_NAMED:,} more" if len(said) > _MOST_NAMED else ""
    shown = ", ".join(said[:_MOST_NAMED]) + more if more else listing(said)
    return f"{len(found):,} of {len(rows):,} ratios to the baseline differ ({shown})."


def _log(row: RatioRow) -> float:
    return math.log(row.head.estimate / row.base.estimate)


def _factor(row: RatioRow) -> str:
    return f"a factor of {ratio(math.exp(_log(row)))}"
