"""What a router costs against what it is good for: time against evenness, and against perplexity where it is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.errors import MissingDataError
from reports.figures.style import log_ticks, shared_legend, whiskers
from reports.figures.theme import OKABE_ITO
from reports.format.inputs import quoted
from reports.format.plot import Plot
from reports.judging.intervals import Interval, mean_interval
from reports.judging.order import STOCK
from reports.overview.evenness import largest_loads
from reports.overview.headline import alone, inside, inside_scenario, on_text, text_input, timed_input
from reports.overview.labels import name_points
from reports.overview.perplexities import perplexities
from reports.records.measurements import Entry, LanguageEntry
from reports.records.report_data import ReportData

_NAMED = 16
"""So many points have a name even where they crowd."""


@dataclass(frozen=True)
class Tradeoff:
    """A router in a panel: both of its figures are better the smaller they are."""

    router: str
    time: Interval
    figure: Interval
    equal: bool
    """Whether it selects the number of experts that was asked for."""


@dataclass(frozen=True)
class Panel:
    """Routers by time and another figure."""

    points: tuple[Tradeoff, ...]
    time: str
    figure: str

    @property
    def front(self) -> list[Tradeoff]:
        """Those of equal work that no other beats in both figures, by time."""
        found: list[Tradeoff] = []
        for point in sorted(self.points, key=lambda each: (each.time.estimate, each.figure.estimate)):
            if point.equal and (not found or point.figure.estimate < found[-1].figure.estimate):
                found.append(point)
        return found


def pareto(data: ReportData) -> Plot:
    """A panel of time against the largest load, and one of time inside a model against perplexity."""
    panels = [panel for panel in (_evenness(data), _quality(data)) if len(panel.points) > 1]
    if not panels:
        raise MissingDataError("no two routers have both a time and a load on text, or a time and a perplexity")
    return Plot(
        name="pareto",
        title="Time against evenness" + (" and perplexity" if len(panels) > 1 else ""),
        caption="Down and to the left is better in both. The line joins the routers that no other of equal work beats "
        "in both estimates; whiskers are 95 % intervals, over processes for time and over seeds for the other. Hollow: "
        "routers that select another number of experts, which is other work. Where many crowd, some have no "
        "name here; the table has all.",
        draw=lambda: _draw(panels),
    )


def _evenness(data: ReportData) -> Panel:
    times, loads = alone(data), {router: largest_loads(entry) for router, entry in on_text(data).items()}
    baseline = next((entry.timing.baseline for entry in times.values()), "the baseline")
    timed, read = str(timed_input(data)), str(text_input(data))
    return Panel(
        tuple(
            Tradeoff(
                router,
                entry.timing.ratio,
                mean_interval([100 * load for load in loads[router].values()]),
                _equal(entry),
            )
            for router, entry in times.items()
            if loads.get(router)
        ),
        f"time of the router alone on {quoted(data, timed)}, ratio to {baseline}",
        f"largest load on {quoted(data, read)}, %",
    )


def _quality(data: ReportData) -> Panel:
    read = perplexities(data)
    times: Mapping[str, Entry | LanguageEntry] = {entry.router: entry for entry in inside(data)} or alone(data)
    where = f"time of {inside_scenario(data)} inside the model, ratio to {STOCK}" if data.language else "time, ratio"
    return Panel(
        tuple(
            Tradeoff(router, entry.timing.ratio, read[router].interval, _equal(entry))
            for router, entry in times.items()
            if router in read
        ),
        where,
        "perplexity after fine-tuning",
    )


def _equal(entry: Entry | LanguageEntry) -> bool:
    return entry.router == STOCK or entry.experts_per_token == entry.top_k


def _draw(panels: Sequence[Panel]) -> Figure:
    figure = Figure(figsize=(5.6 * len(panels) + (2.6 if len(panels) < 2 else 0.6), 3.8), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, panel in zip(axes, panels, strict=True):
        _draw_panel(ax, panel)
    shared_legend(figure, axes, columns=3)
    for ax, panel in zip(axes, panels, strict=True):
        front = panel.front
        others = [point for point in panel.points if point not in front]
        named = [(each.router, each.time.estimate, each.figure.estimate) for each in (*front, *others)]
        name_points(ax, named, needed=max(len(front), _NAMED))
    return figure


def _draw_panel(ax: Axes, panel: Panel) -> None:
    for equal, face, said in ((True, OKABE_ITO[0], "selects K experts"), (False, "white", "selects another number")):
        chosen = [point for point in panel.points if point.equal is equal]
        if chosen:
            ax.errorbar(
                [point.time.estimate for point in chosen],
                [point.figure.estimate for point in chosen],
                xerr=whiskers([(each.time.estimate, each.time.low, each.time.high) for each in chosen]),
                yerr=whiskers([(each.figure.estimate, each.figure.low, each.figure.high) for each in chosen]),
                fmt="o",
                color=OKABE_ITO[0],
                markerfacecolor=face,
                markersize=5.5,
                elinewidth=0.7,
                label=said,
            )
    front = panel.front
    if len(front) > 1:
        ax.step(
            [point.time.estimate for point in front],
            [point.figure.estimate for point in front],
            where="post",
            color=OKABE_ITO[5],
            linewidth=1,
            linestyle="--",
            label="no other of equal work is better in both",
            zorder=1,
        )
    _limit(ax, panel)


def _limit(ax: Axes, panel: Panel) -> None:
    """Room for the estimates and for names; the far ends of very wide intervals run off the panel."""
    times = [point.time.estimate for point in panel.points]
    figures = [point.figure.estimate for point in panel.points]
    low, high = min(*times, 1.0) / 1.35, max(*times, 1.0) * 1.5
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    log_ticks(ax.xaxis, low, high)
    span = (max(figures) - min(figures)) or fmean(figures) or 1.0
    least, most = (
        [end for point in panel.points if (end := getattr(point.figure, name)) is not None] or figures
        for name in ("low", "high")
    )
    bottom, top = max(min(least), min(figures) - span / 2), min(max(most), max(figures) + span / 2)
    ax.set_ylim(max(0.0, min(bottom, min(figures)) - 0.08 * span), max(top, max(figures)) + 0.08 * span)
    ax.set_xlabel(panel.time)
    ax.set_ylabel(panel.figure)
    ax.grid()
    ax.set_axisbelow(True)
