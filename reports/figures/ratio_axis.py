"""Panels of ratios to a baseline on logarithmic axes: points with whiskers, and the band of the noise floor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.style import colours, label, log_ticks, row_panels, shared_legend, title_of, whiskers
from reports.figures.theme import BAND, INK
from reports.records.timing import Timing

MOST_SERIES = 6
"""More markers in a row nobody tells apart."""
_MARKERS = ("o", "s", "D", "^", "v", "P")


@dataclass(frozen=True)
class Point:
    """A router's time in a panel, among those of a series."""

    router: str
    series: str
    timing: Timing


def draw_panels(
    panels: Mapping[str, Sequence[Point]],
    routers: Sequence[str],
    series: Sequence[str],
    *,
    width: float,
    notes: Mapping[str, str] = MappingProxyType({}),
    draw_beside: Callable[[Axes, str], Sequence[float]] = lambda ax, panel: (),
) -> Figure:
    """A row per router, a marker per series, a panel per title.

    Args:
        panels: title -> its points.
        routers: the rows, from the top.
        series: in the order of their markers.
        width: of a panel, inches.
        notes: title -> what a second line of it says.
        draw_beside: adds what else a panel (axes, title) shows, and returns the ratios that have to lie inside.
    """
    palette = colours(len(series))
    figure, axes = row_panels(len(panels), routers, width=width, row=max(0.34, 0.12 * len(series)))
    for ax, (title, points) in zip(axes, panels.items(), strict=True):
        _draw_noise(ax, [point.timing for point in points])
        for place, name in enumerate(series):
            chosen = [point for point in points if point.series == name]
            apart = 0.56 * ((place + 0.5) / len(series) - 0.5)
            ratios = [point.timing.ratio for point in chosen]
            ax.errorbar(
                [ratio.estimate for ratio in ratios],
                [routers.index(point.router) + apart for point in chosen],
                xerr=whiskers([(ratio.estimate, ratio.low, ratio.high) for ratio in ratios]),
                fmt=_MARKERS[place % len(_MARKERS)],
                color=palette[place],
                markersize=4,
                capsize=2.5,
                linewidth=1,
                label=label(name),
            )
        lines = [title, *([notes[title]] if notes.get(title) else [])]
        ax.set_title("\n".join(title_of(line, width) for line in lines))
        shown = [1.0, *(point.timing.ratio.estimate for point in points), *draw_beside(ax, title)]
        _finish(ax, shown, points[0].timing.baseline)
    shared_legend(figure, axes[:1], columns=4)
    return figure


def _draw_noise(ax: Axes, timings: Sequence[Timing]) -> None:
    """The band in which the baseline differs from itself, over all groups of the panel."""
    floors = [timing.noise_floor for timing in timings]
    low = min(floor.estimate if floor.low is None else floor.low for floor in floors)
    high = max(floor.estimate if floor.high is None else floor.high for floor in floors)
    # The outline keeps a band of one per cent visible on an axis of three decades.
    ax.axvspan(min(low, 1.0), max(high, 1.0), color=BAND, linewidth=1.5, label="noise floor", zorder=1)


def _finish(ax: Axes, shown: Sequence[float], baseline: str) -> None:
    """Scale, limits, ticks and grid; `shown` are the estimates that have to lie inside."""
    ax.set_xscale("log")
    ax.axvline(1, color=INK, linewidth=0.8, zorder=1.5)
    low, high = ax.get_xlim()
    # Without the far ends of intervals over two or three blocks, which can span many decades.
    low, high = max(low, min(shown) / 5), min(high, max(shown) * 5)
    ax.set_xlim(low, high)
    ax.set_xlabel(f"ratio to {label(baseline)}")
    log_ticks(ax.xaxis, low, high)
    ax.grid(axis="x")
    ax.set_axisbelow(True)
