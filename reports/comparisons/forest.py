"""Ratios with their intervals as a forest plot: a row a benchmark, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from reports.comparisons.comparison import Change, Row
from reports.comparisons.words import name, ratio_words
from reports.format.escape import shorten
from reports.format.numbers import exact
from reports.format.svg import LogAxis, element, log_axis, text

WIDTH, LEFT, RIGHT, ROW, TOP, BOTTOM = 960.0, 330.0, 770.0, 22.0, 26.0, 30.0
"""Of the drawing; where its axis begins and ends; of a row; above the first row and below the last."""
_LONGEST = 48
COLOURS = {
    Change.FAILED: "poor",
    Change.SLOWER: "poor",
    Change.PERHAPS_SLOWER: "poor",
    Change.FASTER: "good",
    Change.PERHAPS_FASTER: "good",
    Change.UNCERTAIN: "fair",
}
"""Verdict -> the page's colour for it; SAME has none."""


def forest(rows: Sequence[Row], threshold: float) -> str:
    """The SVG; rows without a ratio are named and have none."""
    known = [row.ratio for row in rows if row.ratio]
    ends = [end for ratio in known for end in (ratio.low, ratio.estimate, ratio.high) if end]
    axis = log_axis([*clipped(ends), 1 / (1 + 2 * threshold), 1 + 2 * threshold], LEFT, RIGHT)
    bottom = TOP + ROW * len(rows)
    band = [axis(1 / (1 + threshold)), axis(1 + threshold)]
    parts = [
        element("rect", x=band[0], y=TOP - 4, width=band[1] - band[0], height=bottom - TOP + 8, fill="var(--soft)"),
        element("line", x1=axis(1), x2=axis(1), y1=TOP - 4, y2=bottom + 4, stroke="var(--quiet)"),
        text("← head is faster", axis(1) - 8, 14, fill="var(--quiet)", text_anchor="end"),
        text("head is slower →", axis(1) + 8, 14, fill="var(--quiet)"),
        *(part for index, row in enumerate(rows) for part in _row(row, axis, TOP + ROW * (index + 0.5))),
        *foot(axis, bottom),
    ]
    return element("svg", *parts, viewBox=f"0 0 {WIDTH:g} {bottom + BOTTOM:g}", font_size="12", class_="wide")


def clipped(ends: Sequence[float]) -> list[float]:
    """Without what would squeeze all others: an interval may reach from nothing to a hundred."""
    return [min(max(end, 0.1), 10.0) if end > 0 else 0.1 for end in ends]


def _row(row: Row, axis: LogAxis, y: float) -> Iterator[str]:
    colour = f"var(--{COLOURS.get(row.change, 'quiet')})"
    yield text(shorten(name(row.benchmark), _LONGEST), LEFT - 12, y + 4, text_anchor="end")
    if row.ratio is None:
        yield text("not timed", RIGHT + 12, y + 4, fill="var(--quiet)")
        return
    if row.floor:
        low, high = axis(math.exp(-row.floor)), axis(math.exp(row.floor))
        yield element("rect", x=low, y=y - 7, width=high - low, height=14, fill="var(--line)")
    if row.ratio.low is not None and row.ratio.high is not None:
        ends = {"x1": axis(max(row.ratio.low, axis.low)), "x2": axis(row.ratio.high)}
        yield element("line", **ends, y1=y, y2=y, stroke=colour, stroke_width=2)
    yield element("circle", cx=axis(row.ratio.estimate), cy=y, r=4, fill=colour)
    yield text(ratio_words(row.ratio), RIGHT + 12, y + 4, style="font-variant-numeric: tabular-nums")


def foot(axis: LogAxis, bottom: float) -> Iterator[str]:
    """The axis below the rows, with its ticks."""
    yield element("line", x1=axis.start, x2=axis.end, y1=bottom + 4, y2=bottom + 4, stroke="var(--line)")
    for tick in axis.ticks():
        x = axis(tick)
        yield element("line", x1=x, x2=x, y1=bottom + 4, y2=bottom + 8, stroke="var(--quiet)")
        yield text(exact(round(tick, 6)), x, bottom + 22, text_anchor="middle", fill="var(--quiet)")
