"""The time of a call over tokens, experts or the hidden size, a line a router."""

from __future__ import annotations

from statistics import geometric_mean

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.figures.style import colours, label, shared_legend
from reports.format import registry
from reports.format.numbers import duration, fixed, interval
from reports.format.plot import Plot
from reports.judging.slopes import slope, upper_half
from reports.records.report_data import ReportData
from reports.records.size_series import AXES, SizeSeries, Times, size_series

MOST_TICKS = 10


@registry.figure(
    "latency", "Figure of time against size: {}", place=5, keys=lambda data: size_series(data.entries), timed=True
)
def scaling(series: SizeSeries, data: ReportData) -> Plot:
    """Both axes logarithmic; the legend has each router's slope in the upper half of the range."""
    return Plot(
        name=f"scaling-{series.name}",
        title=f"Time against {AXES[series.axis]}: {series.scenario} on {series.input}",
        caption=f"{series.alike}. Both axes are logarithmic; dots are geometric means over the processes, and whiskers "
        "reach from the fastest process to the slowest. In the legend: slope in the upper half of the range, with its "
        "95 % interval over the processes.",
        draw=lambda: _draw(series),
    )


def _draw(series: SizeSeries) -> Figure:
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    ax = figure.subplots()
    for (router, times), colour in zip(series.times.items(), colours(len(series.times)), strict=True):
        means = [geometric_mean(each) for each in times.values()]
        reach = [
            [mean - min(each) for mean, each in zip(means, times.values(), strict=True)],
            [max(each) - mean for mean, each in zip(means, times.values(), strict=True)],
        ]
        ax.errorbar(
            list(times),
            means,
            yerr=[[max(0.0, each) for each in side] for side in reach],
            fmt="o-",
            color=colour,
            markersize=3,
            linewidth=1.1,
            capsize=2,
            label=f"{label(router)}: {_slope(times)}",
        )
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
    shared_legend(figure, [ax], columns=2)
    return figure


def _slope(times: Times) -> str:
    fitted = slope(upper_half(times))
    return str(interval(fixed(2))(fitted.estimate, fitted.low, fitted.high))
