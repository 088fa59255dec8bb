"""How often routers decide otherwise in each precision, a panel per input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.figures.input_sizes import widths_differ
from reports.figures.style import label, row_panels, shared_legend, whiskers
from reports.figures.theme import OKABE_ITO
from reports.format import registry
from reports.format.inputs import input_labels
from reports.format.plot import Plot
from reports.judging.intervals import Interval
from reports.judging.order import in_order
from reports.records.measurements import Entry, LanguageEntry
from reports.records.report_data import ReportData
from reports.tables.precision.headline import inputs_compared
from reports.tables.precision.inside import inside_compared

_MARKERS = ("o", "s", "D", "^", "v", "P")
_TICKS = (0.0, 0.001, 0.01, 0.1, 1.0)
# Below it the axis is linear, so that a router whose decisions no rounding changes stands at 0.
_LINEAR = 0.001
_LANGUAGE_MODEL = "language model"


@registry.figure("precision", "Figure of precision", place=1, keys=lambda data: ["bfloat16"] if _panels(data) else [])
def precision(_: str, data: ReportData) -> Plot:
    """A panel per input, a row per router, a marker per precision; whiskers are intervals over the seeds."""
    panels = _panels(data)
    labels = input_labels(data)
    routers = in_order(router for panel in panels.values() for router in panel)
    return Plot(
        name="precision",
        title="Tokens whose set of experts another precision changes",
        caption="Share of tokens against float64, mean over the seeds; whiskers are 95 % intervals. The axis is "
        "logarithmic, and linear below 0.1 %. “Arithmetic”: against float64 of the same rounded values."
        f"{widths_differ(data, list(panels))}",
        draw=lambda: _draw(
            {labels.get(name, name): panel for name, panel in panels.items()},
            routers,
            {name: record.label for name, record in data.precisions.items()},
        ),
    )


Panel = Mapping[str, Entry | LanguageEntry]


def _panels(data: ReportData) -> dict[str, Panel]:
    panels: dict[str, Panel] = {name: data.find("router", name) for name in inputs_compared(data)}
    inside = {entry.router: entry for entry in inside_compared(data)}
    return panels | ({_LANGUAGE_MODEL: inside} if inside else {})


def _draw(panels: Mapping[str, Panel], routers: Sequence[str], labels: Mapping[str, str]) -> Figure:
    figure, axes = row_panels(len(panels), routers, width=2.7, row=0.42)
    for ax, (name, panel) in zip(axes, panels.items(), strict=False):
        for place, precision in enumerate(labels):
            _points(ax, panel, routers, precision, labels, place)
        _finish(ax, name)
    shared_legend(figure, axes, columns=4)
    return figure


def _points(
    ax: Axes, panel: Panel, routers: Sequence[str], precision: str, labels: Mapping[str, str], place: int
) -> None:
    found: list[tuple[float, Interval]] = []
    for router, entry in panel.items():
        interval = entry.precision.stat(precision, "changed_tokens").interval if entry.precision else None
        if interval is not None:
            found.append((routers.index(router) + 0.7 * ((place + 0.5) / len(labels) - 0.5), interval))
    ax.errorbar(
        [interval.estimate for _, interval in found],
        [row for row, _ in found],
        xerr=whiskers(
            [(each.estimate, None if each.low is None else max(0.0, each.low), each.high) for _, each in found]
        ),
        fmt=_MARKERS[place % len(_MARKERS)],
        color=OKABE_ITO[place % len(OKABE_ITO)],
        markersize=4,
        capsize=2,
        linewidth=1,
        label=label(labels[precision]),
    )


def _finish(ax: Axes, name: str) -> None:
    ax.set_xscale("symlog", linthresh=_LINEAR, linscale=0.5)
    ax.set_xlim(-0.2 * _LINEAR, 1.2)
    ax.xaxis.set_major_locator(FixedLocator(_TICKS))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    ax.set(title=label(name), xlabel="tokens changed")
    ax.grid(axis="x")
    ax.set_axisbelow(True)
