"""How the machine's speed moved over the run: the time of each process beside the others, group by group."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import geometric_mean, median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reports.errors import MissingDataError
from reports.figures.style import panels, shared_legend, title_of
from reports.figures.theme import BAND, GRID, INK, OKABE_ITO
from reports.format import registry
from reports.format.numbers import by_format
from reports.format.plot import Plot
from reports.records.measurements import Measurement
from reports.records.report_data import ReportData

_BASELINE = OKABE_ITO[5]
_MOST_GROUPS = 24
_WIDTH = 2.7
# Fewer show no course.
_LEAST_PROCESSES = 2

Groups = Mapping[str, list[Measurement]]


@registry.figure("costs", "Figure of drift", place=2, timed=True)
def drift(data: ReportData) -> Plot:
    """A panel per group that was measured together, a line per router, the median and the baseline on top."""
    groups = _groups(data)
    if not groups:
        raise MissingDataError("every group was measured by one process: it has no course")
    shown = dict(list(groups.items())[:_MOST_GROUPS])
    left = f" The first {_MOST_GROUPS} of {len(groups)} groups." if len(groups) > len(shown) else ""
    return Plot(
        name="drift",
        title="How times moved from process to process",
        caption="The time of each process over the mean of all of them, in the order in which they ran: grey lines are "
        "routers, the black one their median, the coloured one the baseline. Lines that rise and fall together are the "
        "machine, which ratios within a round are free of; a line that leaves the others is its router. A level line "
        f"is a quiet machine.{left}",
        draw=lambda: _draw(shown),
    )


def _groups(data: ReportData) -> dict[str, list[Measurement]]:
    labels = {
        name: record.label
        for subject in ("router", "language_model")
        for name, record in data.scenarios(subject).items()
    }
    groups: dict[str, list[Measurement]] = {}
    for entry in data.measurements:
        if len(entry.timing.process_us) >= _LEAST_PROCESSES:
            scenario, input_name = entry.group
            groups.setdefault(f"{labels[scenario]}, {input_name or 'language model'}", []).append(entry)
    return groups


def _draw(groups: Groups) -> Figure:
    figure, axes = panels(len(groups), width=_WIDTH, height=1.3)
    for ax, (name, entries) in zip(axes, groups.items(), strict=True):
        _draw_group(ax, entries)
        ax.set_title(title_of(name, _WIDTH))
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes[0].yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: by_format("+.0%")(value - 1) if value != 1 else "0 %")
    )
    figure.supxlabel("process, in the order of the run", fontsize=9)
    figure.supylabel("time beside its mean", fontsize=9)
    shared_legend(figure, axes, columns=3, loc="outside upper center")
    return figure


def _draw_group(ax: Axes, entries: list[Measurement]) -> None:
    courses: dict[str, list[float]] = {}
    for entry in entries:
        times = entry.timing.process_us
        mean = geometric_mean(times)
        courses.setdefault(entry.router, [time / mean for time in times])
    for course in courses.values():
        ax.plot(_numbers(course), course, color=BAND, linewidth=0.8, label="a router")
    longest = max(map(len, courses.values()))
    middle = [median(c[place] for c in courses.values() if place < len(c)) for place in range(longest)]
    ax.plot(_numbers(middle), middle, color=INK, linewidth=1.4, label="median of the routers")
    baseline = entries[0].timing.baseline
    if baseline in courses:
        ax.plot(_numbers(courses[baseline]), courses[baseline], color=_BASELINE, linewidth=1.2, label="baseline")
    ax.axhline(1, color=GRID, linewidth=0.8, zorder=0)


def _numbers(course: list[float]) -> range:
    return range(1, len(course) + 1)
