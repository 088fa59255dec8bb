"""An interval as a small picture beside its number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from reports.format.numbers import missing
from reports.judging.intervals import Interval

_WIDTH, _HEIGHT, _MARGIN = 88, 14, 4
Bar = Callable[..., Markup]


def interval_bar(intervals: Sequence[Interval], centre: float = 1.0) -> Bar:
    """A function (estimate, low, high) -> SVG on one logarithmic scale for all of these, with a line at `centre`.

    The picture repeats what the number beside it says, and is hidden from what reads aloud.
    """
    ends = [centre, *(end for each in intervals for end in (each.estimate, each.low, each.high) if end)]
    low, high = math.log(min(ends)), math.log(max(ends))
    scale = (_WIDTH - 2 * _MARGIN) / (high - low) if high > low else 0.0

    def place(value: float) -> float:
        return round(_MARGIN + scale * (math.log(value) - low) if scale else _WIDTH / 2, 1)

    def draw(estimate: float | None, least: float | None, most: float | None) -> Markup:
        if estimate is None or missing(estimate):
            return Markup("")
        whisker = ""
        if least and most and not missing(least) and not missing(most):
            whisker = f'<path class="whisker" d="M{place(least)} 7H{place(most)}"/>'
        return Markup(
            f'<svg class="bar" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">'
            f'<path class="centre" d="M{place(centre)} 0V{_HEIGHT}"/>{whisker}'
            f'<circle cx="{place(estimate)}" cy="7" r="2.6"/></svg>'
        )

    return draw
