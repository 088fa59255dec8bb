"""The load of the experts, a panel per router."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reports.figures.behaviour.leading import leading_inputs
from reports.figures.input_sizes import size_sentence
from reports.figures.style import panels, shared_legend, title_of
from reports.figures.theme import INK, OKABE_ITO, QUIET
from reports.format import registry
from reports.format.inputs import quoted
from reports.format.plot import Plot
from reports.records.measurements import Entry
from reports.records.report_data import ReportData

_MEAN, _EVEN = OKABE_ITO[4], OKABE_ITO[5]
# Of more experts a bar would be a hair, and a seed's points a cloud: the outline of the means has to do.
_BARS_UP_TO = 32
# Inches of a panel, and of them those that its title's number takes.
_WIDTH, _NUMBER = 2.7, 0.7


@registry.figure("balance", "Figure of expert load on “{}”", place=1, keys=leading_inputs)
def expert_load(input_name: str, data: ReportData) -> Plot:
    """Bars from the most to the least loaded expert of each seed, a point a seed, and the line of an even load."""
    entries = data.select("router", input_name)
    seeds = "points are the seeds" if any(_points(entry) for entry in entries) else "this file states no single seeds"
    return Plot(
        name=f"expert-load-{input_name}",
        title=f"Load of the experts on input {quoted(data, input_name)}",
        caption="Each expert's share of all assignments, from the most to the least loaded expert of each seed; bars "
        f"are means over seeds, {seeds}. The dashed line is an even load: the further the first bars stand above it, "
        "the longer a layer waits for its busiest experts; an expert without a bar learns nothing. The title has the "
        f"largest load over the even one.{size_sentence(data, input_name)}",
        draw=lambda: _draw(entries),
    )


def _points(entry: Entry) -> tuple[tuple[float, ...], ...]:
    return entry.behaviour.loads_by_seed or ()


def _draw(entries: list[Entry]) -> Figure:
    figure, axes = panels(len(entries), width=_WIDTH, height=1.5)
    for ax, entry in zip(axes, entries, strict=True):
        _draw_loads(ax, entry)
    largest = max(
        share for entry in entries for loads in (entry.behaviour.expert_load, *_points(entry)) for share in loads
    )
    axes[0].set_ylim(0, 1.08 * largest or 1)
    axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    figure.supxlabel("experts, the most loaded of each seed first", fontsize=9)
    figure.supylabel("share of assignments", fontsize=9)
    shared_legend(figure, axes, columns=3, loc="outside upper left")
    return figure


def _draw_loads(ax: Axes, entry: Entry) -> None:
    loads = entry.behaviour.expert_load
    ranks = np.arange(1, len(loads) + 1)
    if len(loads) <= _BARS_UP_TO:
        ax.bar(ranks, loads, width=0.8, color=_MEAN, label="mean over seeds")
        for seed in _points(entry):
            ax.plot(ranks, seed, ".", color=INK, markersize=3, label="a seed")
    else:
        ax.fill_between(ranks, loads, step="mid", color=_MEAN, linewidth=0, label="mean over seeds")
    ax.axhline(1 / len(loads), color=_EVEN, linestyle="--", linewidth=1.2, label="even load")
    ax.set_title(f"{title_of(entry.router, _WIDTH - _NUMBER)}: × {len(loads) * max(loads):.2f}")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.tick_params(axis="x", length=0, labelcolor=QUIET)
