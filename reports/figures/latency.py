"""Time as a ratio to the baseline, with intervals and the noise floor."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.errors import MissingDataError
from reports.figures.ratio_axis import draw_noise, draw_ratios, finish, name_rows
from reports.figures.style import OKABE_ITO
from reports.format import registry
from reports.format.plot import Plot
from reports.judging import paper
from reports.records.measurements import Entry
from reports.records.report_data import ReportData

_MARKERS = ("o", "s", "D", "^", "v", "P")


@registry.figure("latency", "Latency figure", place=1)
def ratios(study: ReportData) -> Plot:
    """A panel per scenario, a row per router; whiskers, and the band in which the baseline differs from itself."""
    inputs = registry.inputs_timed(study)
    timed = {
        record.label: entries
        for scenario, record in study.scenarios("router").items()
        if (entries := [entry for name in inputs for entry in study.find(scenario, name).values()])
    }
    if not timed:
        raise MissingDataError("the files hold no timing on an input that is timed in every scenario")
    baseline = next(iter(timed.values()))[0].timing.baseline
    return Plot(
        name="latency",
        title=f"Time of a call as a ratio to {baseline}",
        caption="Logarithmic axis; whiskers are 95 % intervals over blocks, and very wide ones run off the panel. "
        "The grey band is the noise floor: what the baseline measured against itself, over the groups of the panel. "
        "Crosses: the paper's ratios, on other hardware.",
        draw=lambda: _draw(timed, inputs, baseline),
    )


def _draw(timed: dict[str, list[Entry]], inputs: list[str], baseline: str) -> Figure:
    routers = list(dict.fromkeys(entry.router for entries in timed.values() for entry in entries))
    figure = Figure(figsize=(3.3 * len(timed) + 1.4, 0.34 * len(routers) + 1.5), layout="constrained")
    axes = figure.subplots(1, len(timed), sharey=True, squeeze=False)[0]
    for ax, (scenario, entries) in zip(axes, timed.items(), strict=True):
        draw_noise(ax, [entry.timing for entry in entries])
        for index, name in enumerate(inputs):
            chosen = [entry for entry in entries if entry.input == name]
            offset = 0.56 * ((index + 0.5) / len(inputs) - 0.5)
            draw_ratios(
                ax,
                [entry.timing.ratio for entry in chosen],
                [routers.index(entry.router) + offset for entry in chosen],
                colour=OKABE_ITO[index % len(OKABE_ITO)],
                marker=_MARKERS[index % len(_MARKERS)],
                name=name,
            )
        shown = [1.0, *(entry.timing.ratio.estimate for entry in entries)]
        if entries[0].scenario == "router":
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
