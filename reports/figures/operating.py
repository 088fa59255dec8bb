"""The operating curve: how large a slowdown the gate finds how often."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reports.figures.style import shared_legend, whiskers
from reports.figures.theme import FAINT, OKABE_ITO
from reports.format.plot import Plot
from reports.loading.self_test import SelfTest, Share

_DOUBLED = 1.0
_FOUND, _ALARM, _THRESHOLD = OKABE_ITO[0], OKABE_ITO[5], FAINT


def curve(test: SelfTest) -> Plot:
    """Share of trials found over the true slowdown, the threshold, and the false alarms of whole runs at zero."""
    return Plot(
        name="operating",
        title="Share of slowdowns that the gate finds",
        caption="Whiskers are Wilson's 95 % intervals. At zero stand the single comparisons that were called SLOWER "
        "though nothing was slower, and the share of whole runs that raised an alarm. Doublings and more stand in the "
        "table.",
        draw=lambda: _draw(test),
    )


def _draw(test: SelfTest) -> Figure:
    levels = [level for level in test.levels if level.slowdown < _DOUBLED]
    figure = Figure(figsize=(6.8, 3.9), layout="constrained")
    ax = figure.subplots()
    # Beside zero, not on it: there the curve has a point of its own.
    largest = max((100 * level.slowdown for level in levels), default=0.0)
    aside = -0.04 * max(largest, 100 * test.threshold)
    ax.axvline(
        100 * test.threshold,
        color=_THRESHOLD,
        linestyle="--",
        linewidth=1,
        label=f"threshold, {100 * test.threshold:g} %",
        zorder=1,
    )
    _points(ax, [(100 * level.slowdown, level.found) for level in levels], "o-", _FOUND, "slowdown found")
    _points(ax, [(aside, test.false_alarms.alarms)], "D", _ALARM, "false alarms of whole runs (at 0)")
    slowdowns = [100 * level.slowdown for level in levels]
    ax.set_xticks(slowdowns)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    ax.set(xlabel="true slowdown (%)", ylabel="share of trials", ylim=(-0.03, 1.03))
    ax.grid(axis="y")
    ax.set_axisbelow(True)
    shared_legend(figure, [ax], columns=3)
    return figure


def _points(ax: Axes, points: list[tuple[float, Share]], style: str, colour: str, label: str) -> None:
    known = [(x, share.share, share) for x, share in points if share.share is not None]
    ax.errorbar(
        [x for x, _, _ in known],
        [y for _, y, _ in known],
        yerr=whiskers([(y, share.low, share.high) for _, y, share in known]),
        fmt=style,
        color=colour,
        markersize=5,
        capsize=3,
        linewidth=1.2,
        label=label,
        clip_on=False,
    )
