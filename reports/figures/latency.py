"""Time as a ratio to the baseline, with intervals and the noise floor."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from reports import paper
from reports.errors import MissingDataError
from reports.figures.style import OKABE_ITO, label
from reports.plot import Plot
from reports.study import Entry, Study

_SCENARIOS = ("router", "token", "training")
_MARKERS = {"random": "o", "contextual": "s"}


def ratios(study: Study) -> Plot:
    """A panel per scenario, a row per router; whiskers, and the band in which the baseline differs from itself."""
    timed = {scenario: [e for name in _MARKERS for e in study.find(scenario, name).values()] for scenario in _SCENARIOS}
    timed = {scenario: entries for scenario, entries in timed.items() if entries}
    if not timed:
        raise MissingDataError("the files hold no timing on input “random” or “contextual”")
    baseline = next(iter(timed.values()))[0].timing.baseline
    return Plot(
        name="latency",
        title=f"Time of a call as a ratio to {baseline}",
        caption="Logarithmic axis; whiskers are 95 % intervals over blocks, and very wide ones run off the panel. "
        "The grey band is the noise floor: what the baseline measured against itself, over the groups of the panel. "
        "Crosses: the paper's ratios, on other hardware.",
        draw=lambda: _draw(timed, baseline),
    )


def _draw(timed: dict[str, list[Entry]], baseline: str) -> Figure:
    routers = list(dict.fromkeys(entry.router for entries in timed.values() for entry in entries))
    figure = Figure(figsize=(3.3 * len(timed) + 1.4, 0.34 * len(routers) + 1.5), layout="constrained")
    axes = figure.subplots(1, len(timed), sharey=True, squeeze=False)[0]
    for ax, (scenario, entries) in zip(axes, timed.items(), strict=True):
        _draw_noise(ax, entries)
        for offset, (colour, (name, marker)) in enumerate(zip(OKABE_ITO, _MARKERS.items(), strict=False)):
            chosen = [entry for entry in entries if entry.input == name]
            _draw_points(ax, chosen, routers, -0.14 + 0.28 * offset, colour, marker, name)
        shown = [1.0, *(entry.timing.ratio.estimate for entry in entries)]
        if scenario == "router":
            shown += _draw_paper(ax, routers)
        ax.set(title=scenario, xscale="log")
        ax.set_xlim(*_limits(ax, shown))
        ax.set_xlabel(f"ratio to {label(baseline)}")
        ax.xaxis.set_major_locator(LogLocator(subs=(1,) if _span(ax) > 100 else (1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
    axes[0].set_yticks(range(len(routers)), [label(router) for router in routers])
    axes[0].set_ylim(len(routers) - 0.5, -0.5)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _limits(ax: Axes, shown: list[float]) -> tuple[float, float]:
    """The axis without the far ends of intervals over two or three blocks, which can span many decades."""
    low, high = ax.get_xlim()
    return max(low, min(shown) / 5), min(high, max(shown) * 5)


def _span(ax: Axes) -> float:
    low, high = ax.get_xlim()
    return high / low


def _draw_noise(ax: Axes, entries: list[Entry]) -> None:
    floors = [entry.timing.noise_floor for entry in entries]
    low = min(floor.estimate if floor.low is None else floor.low for floor in floors)
    high = max(floor.estimate if floor.high is None else floor.high for floor in floors)
    # The outline keeps a band of one per cent visible on an axis of three decades.
    ax.axvspan(min(low, 1.0), max(high, 1.0), color="0.7", linewidth=1.5, label="noise floor", zorder=1)


def _draw_points(
    ax: Axes, entries: list[Entry], routers: list[str], offset: float, colour: str, marker: str, name: str
) -> None:
    ratios = [entry.timing.ratio for entry in entries]
    below = [0.0 if r.low is None else max(0.0, r.estimate - r.low) for r in ratios]
    above = [0.0 if r.high is None else max(0.0, r.high - r.estimate) for r in ratios]
    ax.errorbar(
        [ratio.estimate for ratio in ratios],
        [routers.index(entry.router) + offset for entry in entries],
        xerr=[below, above],
        fmt=marker,
        color=colour,
        markersize=4,
        capsize=2.5,
        linewidth=1,
        label=name,
    )


def _draw_paper(ax: Axes, routers: list[str]) -> list[float]:
    """Marks the paper's ratios and returns them."""
    latencies = paper.RANDOM_INPUT.values["latency_ms"]
    ratios = {
        row: latencies[router].value / latencies["linear"].value
        for row, router in enumerate(routers)
        if router in latencies
    }
    ax.plot(list(ratios.values()), list(ratios), "x", color="0.25", markersize=5, label="paper (A100)")
    return list(ratios.values())
