"""How single durations spread: a distribution function per router, process by process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.errors import MissingDataError
from reports.figures.style import label, log_ticks, row_panels
from reports.figures.theme import GRID, INK, OKABE_ITO
from reports.format import registry
from reports.format.plot import Plot
from reports.judging.order import in_order
from reports.records.measurements import Measurement
from reports.records.report_data import ReportData

_PROCESS = OKABE_ITO[4]
# A line of so many points shows all that a row of half an inch can.
_POINTS = 40
_LOWEST, _HIGHEST = 0.6, 2.5
# Of a row, how much the distribution function takes.
_HEIGHT = 0.8

Panel = Mapping[str, Measurement]
Floats = np.ndarray[Any, np.dtype[Any]]


@registry.figure("costs", "Figure of durations", place=1, timed=True)
def routers(data: ReportData) -> Plot:
    """A panel per scenario on the first input that is timed in all."""
    input_name = next(iter(registry.inputs_timed(data)), "")
    panels: dict[str, Panel] = {
        record.label: data.find(name, input_name) for name, record in data.scenarios("router").items()
    }
    return _plot(panels, "durations", f"How durations spread, input “{input_name}”")


@registry.figure("language-model", "Figure of durations inside a language model", place=2, timed=True)
def language_model(data: ReportData) -> Plot:
    """A panel per scenario; of routers with several starts the first."""
    panels: dict[str, Panel] = {}
    for name, record in data.scenarios("language_model").items():
        entries = [entry for entry in data.language if entry.scenario == name]
        panels[record.label] = {
            router: next(entry for entry in entries if entry.router == router)
            for router in in_order(entry.router for entry in entries)
        }
    return _plot(panels, "durations-language-model", "How durations spread inside a language model")


def _plot(panels: Mapping[str, Panel], name: str, title: str) -> Plot:
    kept = {
        scenario: found
        for scenario, panel in panels.items()
        if (found := {router: entry for router, entry in panel.items() if entry.durations})
    }
    if not kept:
        raise MissingDataError("the files hold no single durations (pytest-benchmark's stats.data)")
    return Plot(
        name=name,
        title=title,
        caption="Share of a router's calls that take no longer than so many times its median: thin lines are the "
        "processes, the thick one all of them. A steep line is a steady time; a step to the right is a call that was "
        "interrupted, thin lines side by side are processes that differ, which is why intervals are over processes. "
        f"The number is the slowest twentieth's. What lies beyond {_LOWEST:g} and {_HIGHEST:g} is not shown.",
        draw=lambda: _draw(kept),
    )


def _draw(panels: Mapping[str, Panel]) -> Figure:
    names = in_order(router for panel in panels.values() for router in panel)
    figure, axes = row_panels(len(panels), names, width=2.6, row=0.45)
    for ax, (scenario, panel) in zip(axes, panels.items(), strict=True):
        for router, entry in panel.items():
            _draw_row(ax, names.index(router), entry.durations)
        ax.set(title=label(scenario), xscale="log", xlim=(_LOWEST, _HIGHEST), xlabel="time over its median")
        log_ticks(ax.xaxis, _LOWEST, _HIGHEST)
        ax.axvline(1, color=GRID, linewidth=0.8, zorder=0)
        ax.tick_params(axis="y", length=0)
    return figure


def _draw_row(ax: Axes, row: int, durations: Sequence[Sequence[float]]) -> None:
    everything = np.concatenate([np.asarray(process) for process in durations])
    middle = float(np.median(everything))
    for process in durations:
        _draw_line(ax, row, np.asarray(process) / middle, color=_PROCESS, linewidth=0.7, alpha=0.8)
    _draw_line(ax, row, everything / middle, color=INK, linewidth=1.1)
    slowest = float(np.quantile(everything, 0.95)) / middle
    ax.text(0.99, row + 0.3, f"× {slowest:.2f}", transform=ax.get_yaxis_transform(), ha="right", fontsize=7)


def _draw_line(ax: Axes, row: int, relative: Floats, **style: Any) -> None:
    shares = np.linspace(0, 1, min(_POINTS, len(relative) + 1))
    # Rows count downwards, the function upwards.
    ax.plot(np.quantile(relative, shares), row + _HEIGHT * (0.5 - shares), **style)
