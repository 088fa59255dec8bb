"""Time as a ratio to the baseline, with intervals and the noise floor."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.errors import MissingDataError
from reports.figures.ratio_axis import draw_noise, draw_ratios, finish, name_rows
from reports.figures.style import OKABE_ITO
from reports.format.plot import Plot
from reports.judging import paper
from reports.records.study import Entry, Study

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
        draw_noise(ax, [entry.timing for entry in entries])
        for offset, (colour, (name, marker)) in enumerate(zip(OKABE_ITO, _MARKERS.items(), strict=False)):
            chosen = [entry for entry in entries if entry.input == name]
            rows = [routers.index(entry.router) - 0.14 + 0.28 * offset for entry in chosen]
            draw_ratios(ax, [e.timing.ratio for e in chosen], rows, colour=colour, marker=marker, name=name)
        shown = [1.0, *(entry.timing.ratio.estimate for entry in entries)]
        if scenario == "router":
            shown += _draw_paper(ax, routers)
        ax.set_title(scenario)
        finish(ax, shown, baseline)
    name_rows(axes[0], routers)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    return figure


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
