"""How single durations spread: a distribution function per router, process by process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.errors import MissingDataError
from reports.figures.input_sizes import chosen_size, size_sentence
from reports.figures.style import log_ticks, row_panels, shared_legend, title_of
from reports.figures.theme import GRID, INK, OKABE_ITO
from reports.format import registry
from reports.format.inputs import quoted
from reports.format.numbers import duration, listing
from reports.format.plot import Plot
from reports.judging.order import in_order
from reports.records.measurements import Measurement
from reports.records.report_data import ReportData

_PROCESS, _SLOWEST = OKABE_ITO[4], OKABE_ITO[5]
# A line of so many points shows all that a row of half an inch can.
_POINTS = 40
_LOWEST, _HIGHEST = 0.6, 2.5
# Of a row, how much the distribution function takes.
_HEIGHT = 0.8
_WIDTH, _PAD = 3.3, 0.12
_SHARE = 0.95
# Of fewer calls a twentieth is not one.
_LEAST_CALLS = 20

Panel = Mapping[str, Measurement]
Floats = np.ndarray[Any, np.dtype[Any]]


@registry.figure("costs", "Figure of durations", place=1, timed=True)
def routers(data: ReportData) -> Plot:
    """A panel per scenario on the first input that is timed in all; of several sizes, on the usual one."""
    input_name = chosen_size(data, registry.inputs_timed(data)) or ""
    panels: dict[str, Panel] = {
        record.label: data.find(name, input_name) for name, record in data.scenarios("router").items()
    }
    title = f"How durations spread, input {quoted(data, input_name)}"
    return _plot(panels, "durations", title, size_sentence(data, input_name))


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
    return _plot(panels, "durations-language-model", "How durations spread inside a language model", "")


def _plot(panels: Mapping[str, Panel], name: str, title: str, about: str) -> Plot:
    known = {
        scenario: found
        for scenario, panel in panels.items()
        if (found := {router: entry for router, entry in panel.items() if entry.durations})
    }
    if not known:
        raise MissingDataError("the files hold no single durations (pytest-benchmark's stats.data)")
    kept = {scenario: panel for scenario, panel in known.items() if any(map(_spreads, panel.values()))}
    single = [scenario for scenario in known if scenario not in kept]
    if not kept:
        raise MissingDataError(f"a process measured one call of each router, which has no spread: {listing(single)}")
    left_out = f" Left out, because a process measured one call of each router: {listing(single)}." if single else ""
    return Plot(
        name=name,
        title=title,
        caption="Each row is a router's distribution function: how many of its calls, from none at the bottom of the "
        "row to all at its top, take no longer than so many times its median. Thin lines are the processes, the thick "
        "line all of them. A steep line is a steady time, one that runs out to the right is of calls that were "
        "interrupted, and thin lines side by side are processes that differ, which is why intervals are over "
        "processes. Beside each row: the median, and the 95th percentile as a multiple of it. What lies beyond "
        f"{_LOWEST:g} and {_HIGHEST:g} is not shown.{left_out}{about}",
        draw=lambda: _draw(kept),
    )


def _spreads(entry: Measurement) -> bool:
    return max(map(len, entry.durations), default=0) > 1


def _draw(panels: Mapping[str, Panel]) -> Figure:
    names = in_order(router for panel in panels.values() for router in panel)
    figure, axes = row_panels(len(panels), names, width=_WIDTH, row=0.45)
    for ax, (scenario, panel) in zip(axes, panels.items(), strict=True):
        _draw_rows(ax, {names.index(router): entry.durations for router, entry in panel.items()})
        ax.set(title=title_of(scenario, _WIDTH), xscale="log", xlim=(_LOWEST, _HIGHEST), xlabel="time over its median")
        log_ticks(ax.xaxis, _LOWEST, _HIGHEST)
        ax.axvline(1, color=GRID, linewidth=0.8, zorder=0)
        ax.tick_params(axis="y", length=0)
    axes[0].set_ylabel("share of calls, 0 to 100 % in each row")
    # Between the words beside a panel and what follows.
    figure.set_layout_engine("constrained", w_pad=_PAD)
    shared_legend(figure, axes, columns=4)
    return figure


def _draw_rows(ax: Axes, rows: Mapping[int, Sequence[Sequence[float]]]) -> None:
    processes, together, slowest = [], [], {}
    for row, durations in rows.items():
        everything = np.concatenate([np.asarray(process) for process in durations])
        middle = float(np.median(everything))
        processes += [_line(row, np.asarray(process) / middle) for process in durations]
        together.append(_line(row, everything / middle))
        words = duration(middle)
        if len(everything) >= _LEAST_CALLS:
            slowest[row] = float(np.quantile(everything, _SHARE)) / middle
            words += f"\n{100 * _SHARE:.0f} %: × {slowest[row]:.2f}"
        ax.text(1.02, row, words, transform=ax.get_yaxis_transform(), va="center", fontsize=7.5)
    ax.hlines([row + _HEIGHT / 2 for row in rows], _LOWEST, _HIGHEST, color=GRID, linewidth=0.6, zorder=0)
    # All lines of a sort are one, with gaps: a hundred of them take long to draw.
    ax.plot(*np.concatenate(processes, axis=1), color=_PROCESS, linewidth=0.8, label="a process")
    ax.plot(*np.concatenate(together, axis=1), color=INK, linewidth=1.4, label="all processes")
    ax.plot([1] * len(rows), list(rows), "o", color=INK, markersize=3.5, label="median")
    shown = {row: ratio for row, ratio in slowest.items() if ratio <= _HIGHEST}
    heights = [row + _HEIGHT * (0.5 - _SHARE) for row in shown]
    ax.plot(list(shown.values()), heights, "D", color=_SLOWEST, markersize=3.5, label="95th percentile")


def _line(row: int, relative: Floats) -> Floats:
    """x and y of a distribution function, (2, points), and a gap behind it."""
    shares = np.linspace(0, 1, min(_POINTS, len(relative) + 1))
    # Rows count downwards, the function upwards.
    points = np.stack([np.quantile(relative, shares), row + _HEIGHT * (0.5 - shares)])
    return np.concatenate([points, np.full((2, 1), np.nan)], axis=1)
