"""A logarithmic axis of ratios to a baseline: points with whiskers, and the band of the noise floor."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from reports.figures.style import label, log_ticks
from reports.judging.intervals import Interval
from reports.records.measurements import Timing


def draw_noise(ax: Axes, timings: Sequence[Timing]) -> None:
    """The band in which the baseline differs from itself, over all groups of the panel."""
    floors = [timing.noise_floor for timing in timings]
    low = min(floor.estimate if floor.low is None else floor.low for floor in floors)
    high = max(floor.estimate if floor.high is None else floor.high for floor in floors)
    # The outline keeps a band of one per cent visible on an axis of three decades.
    ax.axvspan(min(low, 1.0), max(high, 1.0), color="0.7", linewidth=1.5, label="noise floor", zorder=1)


def draw_ratios(
    ax: Axes, ratios: Sequence[Interval], rows: Sequence[float], *, colour: str, marker: str, name: str
) -> None:
    """Estimates at their rows, with whiskers where they have bounds."""
    ax.errorbar(
        [ratio.estimate for ratio in ratios],
        rows,
        xerr=[
            [0.0 if r.low is None else max(0.0, r.estimate - r.low) for r in ratios],
            [0.0 if r.high is None else max(0.0, r.high - r.estimate) for r in ratios],
        ],
        fmt=marker,
        color=colour,
        markersize=4,
        capsize=2.5,
        linewidth=1,
        label=name,
    )


def finish(ax: Axes, shown: Sequence[float], baseline: str) -> None:
    """Scale, limits, ticks and grid; `shown` are the estimates that have to lie inside."""
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    # Without the far ends of intervals over two or three blocks, which can span many decades.
    low, high = max(low, min(shown) / 5), min(high, max(shown) * 5)
    ax.set_xlim(low, high)
    ax.set_xlabel(f"ratio to {label(baseline)}")
    log_ticks(ax.xaxis, low, high)
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """A row per name, the first on top."""
    ax.set_yticks(range(len(names)), [label(name) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
