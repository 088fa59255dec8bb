"""A series as a small drawing: values with intervals over time, levels, and the steps between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from reports.format.numbers import ratio
from reports.format.svg import LinearAxis, LogAxis, element, linear_axis, log_axis, path, text, title
from reports.history.series import Series
from reports.history.words import CLASSES, ratio_words, verdict
from reports.page.simple import Panel

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 300.0, 128.0, 54.0, 14.0, 108.0
_RIGHT = _WIDTH - 8
# Runs stand at least so far apart, as a share of even spacing.
_CLOSEST = 0.6
_MOST_LABELS = 4
# Width of a step's words.
_LABEL = 46.0


def positions(times: Sequence[datetime]) -> list[float]:
    """Where runs stand between 0 and 1: by time, those that would lie on one another moved apart."""
    if len(times) < 2:
        return [0.5] * len(times)
    first, span = times[0], (times[-1] - times[0]).total_seconds()
    gap = _CLOSEST / (len(times) - 1)
    places: list[float] = []
    for time in times:
        share = (time - first).total_seconds() / span if span else 0.0
        places.append(max(share, places[-1] + gap) if places else share)
    return [place / places[-1] for place in places]


def panel(series: Series, *, named: bool) -> Panel:
    """The drawing with its words; the whole benchmark above it, or the router alone where a heading has the rest."""
    first, last = series.points[0], series.points[-1]
    shares = positions([point.run.time for point in series.points])
    xs = [_LEFT + 8 + share * (_RIGHT - _LEFT - 16) for share in shares]
    y = _axis(series)
    parts = [
        *_grid(series, y),
        element("path", d=_whiskers(series, xs, y), stroke="var(--quiet)", opacity="0.55", fill="none"),
        *_levels(series, xs, y),
        path(
            (f"M{x:.1f} {y(point.value.estimate):.1f}h0" for x, point in zip(xs, series.points, strict=True)),
            stroke="var(--ink)",
            stroke_width=5,
            stroke_linecap="round",
            class_="points",
        ),
        *_steps(series, xs),
        text(f"{first.run.time:%Y-%m-%d}", _LEFT, _HEIGHT - 4, fill="var(--quiet)"),
        text(f"{last.run.time:%Y-%m-%d}", _RIGHT, _HEIGHT - 4, fill="var(--quiet)", text_anchor="end"),
    ]
    svg = element("svg", *parts, viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}", font_size="10")
    shown = series.metric.show(last.value.estimate)
    detail = f" ({series.detail})" if series.detail else ""
    words = f"{series.metric.label}, {shown} at last{detail}" if named else f"{shown} at last{detail}"
    return Panel(series.benchmark if named else series.label, words, svg)


def _axis(series: Series) -> LogAxis | LinearAxis:
    values = [point.value.estimate for point in series.points]
    ends = [end for p in series.points for end in (p.value.low, p.value.high) if end is not None]
    if series.metric.tolerance is not None or min(values) <= 0:
        return linear_axis([*values, *ends], _BOTTOM, _TOP)
    # One run of a wide interval must not squeeze all others: what lies far out is cut off at the edge.
    low, high = min(values) / 1.5, max(values) * 1.5
    return log_axis([*values, *(min(max(end, low), high) for end in ends)], _BOTTOM, _TOP)


def _grid(series: Series, y: LogAxis | LinearAxis) -> Iterator[str]:
    for tick in y.ticks(_MOST_LABELS):
        height = y(tick)
        yield element("line", x1=_LEFT, x2=_RIGHT, y1=height, y2=height, stroke="var(--line)")
        yield text(series.metric.show(tick), _LEFT - 4, height + 3, fill="var(--quiet)", text_anchor="end")


def _whiskers(series: Series, xs: Sequence[float], y: LogAxis | LinearAxis) -> str:
    return "".join(
        f"M{x:.1f} {y(point.value.low):.1f}V{y(point.value.high):.1f}"
        for x, point in zip(xs, series.points, strict=True)
        if point.value.low is not None and point.value.high is not None
    )


def _levels(series: Series, xs: Sequence[float], y: LogAxis | LinearAxis) -> Iterator[str]:
    """A line from step to step."""
    if not series.changes or series.metric.tolerance is not None:
        return
    starts = [0, *(series.points.index(change.after) for change in series.changes)]
    ends = [*(start - 1 for start in starts[1:]), len(xs) - 1]
    heights = [series.changes[0].was, *(change.is_ for change in series.changes)]
    lines = (f"M{xs[a] - 4:.1f} {y(h):.1f}H{xs[b] + 4:.1f}" for a, b, h in zip(starts, ends, heights, strict=True))
    yield path(lines, stroke="var(--link)", stroke_width=2, fill="none")


def _steps(series: Series, xs: Sequence[float]) -> Iterator[str]:
    last, low = -_LABEL, False
    for change in series.changes:
        place = series.points.index(change.after)
        x = (xs[place - 1] + xs[place]) / 2
        colour = f"var(--{CLASSES[verdict(series, change)]})"
        says = f"{change.after.run.label}: {ratio_words(change.ratio)} times what it was"
        line = element("line", x1=x, x2=x, y1=_TOP - 2, y2=_BOTTOM, stroke=colour, stroke_dasharray="3 2")
        yield element("g", title(says), line)
        words = f"× {ratio(change.ratio.estimate)}" if change.ratio else "moved"
        at = min(max(x, _LEFT + _LABEL / 2), _RIGHT - _LABEL / 2)
        # Beside another one there is room a line below it.
        low = at - last < _LABEL and not low
        yield text(words, at, _TOP + (8 if low else -4), fill=colour, text_anchor="middle", font_weight="600")
        last = at
