"""Time as a ratio to the baseline, with intervals and the noise floor."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from reports.errors import MissingDataError
from reports.figures.input_sizes import widths_differ
from reports.figures.ratio_axis import MOST_SERIES, Point, draw_panels
from reports.figures.theme import QUIET
from reports.format import registry
from reports.format.inputs import input_labels
from reports.format.numbers import significant
from reports.format.plot import Plot
from reports.judging import paper
from reports.records.report_data import ReportData

_FAR = 5.0
"""Times the largest ratio measured here; the paper's beyond it are not drawn to scale."""


@registry.figure("latency", "Latency figure", place=1, timed=True)
def ratios(data: ReportData) -> Plot:
    """A panel per scenario, a row per router; whiskers, and the band in which the baseline differs from itself."""
    inputs = registry.inputs_timed(data)
    scenarios, labels = data.scenarios("router"), input_labels(data)
    panels: dict[str, list[Point]] = {}
    for scenario, record in scenarios.items():
        for name in inputs:
            shown = labels.get(name, name)
            # So many markers in a row nobody tells apart: each input has its own panels.
            panel, marker = (
                (record.label, shown) if len(inputs) <= MOST_SERIES else (f"{record.label}, {shown}", "router")
            )
            points = [Point(entry.router, marker, entry.timing) for entry in data.find(scenario, name).values()]
            if points:
                panels.setdefault(panel, []).extend(points)
    if not panels:
        raise MissingDataError("the files hold no timing on an input that is timed in every scenario")
    series = dict.fromkeys(point.series for points in panels.values() for point in points)
    routers = list(dict.fromkeys(point.router for points in panels.values() for point in points))
    baseline = next(iter(panels.values()))[0].timing.baseline

    def draw_beside(ax: Axes, panel: str) -> list[float]:
        if "router" not in scenarios or panel != scenarios["router"].label:
            return []
        return _draw_paper(ax, routers, max(point.timing.ratio.estimate for point in panels[panel]))

    return Plot(
        name="latency",
        title=f"Time of a call as a ratio to {baseline}",
        caption="Logarithmic axis; whiskers are 95 % intervals over processes, and very wide ones run off the panel. "
        "The grey band is the noise floor: what the baseline measured against itself, over the groups of the panel. "
        "A router right of it is slower than the baseline, left of it faster. Crosses: the paper's ratios, on other "
        "hardware; one far beyond all that was measured here is an arrow with its number."
        f"{widths_differ(data, inputs)}",
        draw=lambda: draw_panels(
            panels, routers, list(series), width=3.3 if len(panels) < 4 else 2.7, draw_beside=draw_beside
        ),
    )


def _draw_paper(ax: Axes, routers: list[str], largest: float) -> list[float]:
    """Marks the paper's ratios and returns those that have to lie inside: far larger ones would squeeze all others."""
    latencies = paper.RANDOM_INPUT.values["latency_ms"]
    ratios = {
        row: latencies[router].value / latencies["linear"].value
        for row, router in enumerate(routers)
        if router in latencies
    }
    inside = {row: ratio for row, ratio in ratios.items() if ratio <= _FAR * largest}
    ax.plot(list(inside.values()), list(inside), "x", color=QUIET, markersize=5, label="paper (A100)")
    for row, ratio in ratios.items():
        if row not in inside:
            far: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 8, "color": QUIET}
            ax.text(0.99, row, f"paper: {significant(ratio)} →", transform=ax.get_yaxis_transform(), **far)
    return list(inside.values())
