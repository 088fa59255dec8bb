"""How the machine's speed moved over the run: the time of each process beside the others, group by group."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reports.errors import MissingDataError
from reports.figures.style import label, panels, shared_legend, title_of
from reports.figures.theme import FAINT, GRID, INK, OKABE_ITO
from reports.figures.times.courses import Course, Group, group
from reports.format import registry
from reports.format.inputs import input_labels
from reports.format.numbers import by_format, percent, significant
from reports.format.plot import Plot
from reports.records.measurements import Measurement
from reports.records.report_data import ReportData

_BASELINE = OKABE_ITO[5]
_WIDTH = 3.2
# Fewer show no course.
_LEAST_PROCESSES = 2
# So much is movement, a share of one; of less than that the largest are shown, so that a reader sees a quiet machine.
_MOVED, _QUIET_SHOWN, _MOST_SHOWN = 0.1, 3, 6
# From here on per cent are harder to read than a factor.
_MULTIPLE = 0.995


@registry.figure("costs", "Figure of drift", place=2, timed=True)
def drift(data: ReportData) -> Plot:
    """A panel per group that moved, a line per router, the median and the baseline on top."""
    groups = sorted(_groups(data), key=lambda each: -each.moved)
    if not groups:
        raise MissingDataError("every group was measured by one process: it has no course")
    moved = [each for each in groups if each.moved > _MOVED]
    shown = moved[:_MOST_SHOWN] or groups[:_QUIET_SHOWN]
    return Plot(
        name="drift",
        title=f"How times moved from process to process: by up to {_share(groups[0].moved)}",
        caption=f"{_machine(groups, moved, shown)}{_routers(groups)} Each panel is a group that was measured "
        "together: the time of each process over the mean of all of them, in the order in which they ran. Thin lines "
        "are routers, the thick line their median, the coloured one the baseline. Lines that rise and fall together "
        "are the machine, which ratios within a round are free of; a line that leaves the others is its router.",
        draw=lambda: _draw(shown),
    )


def _groups(data: ReportData) -> list[Group]:
    labels = {
        name: record.label
        for subject in ("router", "language_model")
        for name, record in data.scenarios(subject).items()
    }
    inputs = input_labels(data)
    found: dict[str, list[Measurement]] = {}
    for entry in data.measurements:
        if len(entry.timing.process_us) >= _LEAST_PROCESSES:
            scenario, input_name = entry.group
            where = inputs.get(input_name, input_name) or "language model"
            found.setdefault(f"{labels[scenario]}, {where}", []).append(entry)
    return [group(name, entries) for name, entries in found.items()]


def _share(moved: float) -> str:
    """A spread in words, by how much the slowest exceeds the fastest."""
    return percent(moved) if moved < _MULTIPLE else f"a factor of {significant(1 + moved)}"


def _machine(groups: Sequence[Group], moved: Sequence[Group], shown: Sequence[Group]) -> str:
    """What the machine did to all routers of a group, in a sentence or two."""
    most = groups[0]
    if not moved:
        several = f" The {len(shown)} that moved most are shown." if len(groups) > len(shown) else ""
        return (
            f"In no group do the slowest and the fastest process differ by more than {_share(most.moved)}: a quiet "
            f"machine.{several}"
        )
    shown_of = f"; the {len(shown)} that moved most are shown" if len(moved) > len(shown) else ""
    return (
        f"In {len(moved)} of {len(groups)} groups the slowest process took over {100 * _MOVED:.0f} % longer than the "
        f"fastest{shown_of}. “{label(most.name)}” moved most, by {_share(most.moved)}."
    )


def _routers(groups: Sequence[Group]) -> str:
    """Whether a router moved otherwise than the others of its group."""
    apart = [(by, router, each.name) for each in groups if len(each.courses) > 1 for router, by in each.apart.items()]
    if not apart:
        return ""
    by, router, where = max(apart)
    if by <= _MOVED:
        return f" Beside the median of its group no router moved by more than {_share(by)}."
    return f" Beside the median of its group {label(router)} moved most, by {_share(by)} (“{label(where)}”)."


def _draw(groups: Sequence[Group]) -> Figure:
    figure, axes = panels(len(groups), width=_WIDTH, height=1.5)
    for ax, each in zip(axes, groups, strict=True):
        _draw_group(ax, each)
        ax.set_title(title_of(each.name, _WIDTH))
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes[0].yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: by_format("+.0%")(value - 1) if value != 1 else "0 %")
    )
    figure.supxlabel("process, in the order of the run", fontsize=9)
    figure.supylabel("time beside its mean", fontsize=9)
    shared_legend(figure, axes, columns=3, loc="outside upper left")
    return figure


def _draw_group(ax: Axes, each: Group) -> None:
    for course in each.courses.values():
        ax.plot(_numbers(course), course, color=FAINT, linewidth=0.8, label="a router")
    ax.plot(_numbers(each.middle), each.middle, color=INK, linewidth=1.8, label="median of the routers")
    if each.baseline in each.courses:
        course = each.courses[each.baseline]
        ax.plot(_numbers(course), course, color=_BASELINE, linewidth=1.2, label="baseline")
    ax.axhline(1, color=GRID, linewidth=0.8, zorder=0)


def _numbers(course: Course) -> range:
    return range(1, len(course) + 1)
