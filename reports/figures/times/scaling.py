"""The time of a call over tokens, experts or the hidden size, a line a router, named where it ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import geometric_mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.figures.line_ends import End, name_ends
from reports.figures.style import label
from reports.figures.theme import OKABE_ITO, QUIET
from reports.format import registry
from reports.format.numbers import duration, fixed, interval
from reports.format.plot import Plot
from reports.judging.slopes import slope, upper_half
from reports.records.report_data import ReportData
from reports.records.size_series import AXES, SizeSeries, Times, size_series

MOST_TICKS = 10
# Without yellow, of which a thin line is lost on white.
_COLOURS = (*OKABE_ITO[:6], OKABE_ITO[7])
_MARKERS = ("o", "s", "D", "^", "v")


@registry.figure(
    "latency", "Figure of time against size: {}", place=5, keys=lambda data: size_series(data.entries), timed=True
)
def scaling(series: SizeSeries, data: ReportData) -> Plot:
    """Both axes logarithmic; each line is named at its end, with its slope in the upper half of the range."""
    return Plot(
        name=f"scaling-{series.name}",
        title=f"Time against {AXES[series.axis]}: {series.scenario} on {series.input}",
        caption=f"{series.alike}. Both axes are logarithmic; dots are geometric means over the processes, and whiskers "
        f"reach from the fastest process to the slowest. The dashed line is a time in proportion to {AXES[series.axis]}"
        ": where a router's runs alongside it, each more costs as much as the one before; where it is level, a call "
        "costs what it costs at all. At the names: slope in the upper half of the range, with its 95 % interval over "
        "the processes; 1 is in proportion.",
        draw=lambda: _draw(series),
    )


def _draw(series: SizeSeries) -> Figure:
    figure = Figure(figsize=(8.6, max(4.8, 0.17 * len(series.times) + 1.2)), layout="constrained")
    ax = figure.subplots()
    ends = []
    for place, (router, times) in enumerate(series.times.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        means = [geometric_mean(each) for each in times.values()]
        reach = [
            [mean - min(each) for mean, each in zip(means, times.values(), strict=True)],
            [max(each) - mean for mean, each in zip(means, times.values(), strict=True)],
        ]
        ax.errorbar(
            list(times),
            means,
            yerr=[[max(0.0, each) for each in side] for side in reach],
            fmt=f"{_MARKERS[place // len(_COLOURS) % len(_MARKERS)]}-",
            color=colour,
            markersize=3.5,
            linewidth=1.1,
            capsize=2,
        )
        ends.append(End(f"{label(router)}  {_slope(times)}", max(times), means[-1], colour))
    ax.set_xscale("log")
    ax.set_yscale("log")
    sizes = series.sizes
    ax.xaxis.set_major_locator(FixedLocator(sizes[:: -(-len(sizes) // MOST_TICKS)]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    ax.set(xlabel=AXES[series.axis], ylabel="time of a call")
    ax.grid(visible=True)
    ax.set_axisbelow(True)
    proportion = _draw_proportion(ax, sizes, [end.y for end in ends])
    name_ends(ax, [*ends, proportion])
    return figure


def _draw_proportion(ax: Axes, sizes: Sequence[int], ends: Sequence[float]) -> End:
    """A line of slope 1 that ends in the middle of the routers', over the upper half of the sizes."""
    low, high, limits = math.sqrt(sizes[0] * sizes[-1]), sizes[-1], ax.get_ylim()
    end = geometric_mean(ends)
    ax.plot([low, high], [end * low / high, end], "--", color=QUIET, linewidth=1, zorder=1)
    ax.set_ylim(limits)
    return End("in proportion", high, end, QUIET)


def _slope(times: Times) -> str:
    fitted = slope(upper_half(times))
    return str(interval(fixed(2))(fitted.estimate, fitted.low, fitted.high))
