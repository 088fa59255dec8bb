"""Training losses over the steps, a panel per router."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.errors import MissingDataError
from reports.figures.style import label, log_ticks, panels, shared_legend, title_of
from reports.figures.theme import FAINT, INK, OKABE_ITO
from reports.format import registry
from reports.format.plot import Plot
from reports.judging import paper
from reports.judging.order import start_rank
from reports.records.fine_tuning import FineTuning, Runs

_STOCK, _PAPER = FAINT, INK


@registry.figure("fine-tuning", "Figure of fine-tuning losses", place=1)
@registry.of_fine_tuning
def curves(tuning: FineTuning) -> Plot:
    """Mean and range over seeds, a colour per start, dashed where the router was frozen; stock in every panel."""
    if not any(_points(runs) for variant in tuning.variants for runs in (variant.trained, variant.frozen)):
        raise MissingDataError("the files hold no losses")
    return Plot(
        name="fine-tuning-loss",
        title="Fine-tuning loss over the steps",
        caption="Logarithmic axis. Lines are means over seeds, bands go from the smallest to the largest seed. Dashed: "
        "router frozen, adapters trained. Grey: the model's own gates, trained likewise. The paper's losses have a "
        "panel with an axis of its own: other model, other settings.",
        draw=lambda: _draw(tuning),
    )


def _draw(tuning: FineTuning) -> Figure:
    # Stock is in every panel; one of its own only where there is nothing else to show.
    routers = [router for router in tuning.routers if tuning.stock is None or router != tuning.stock.router]
    routers = routers or list(tuning.routers)
    starts = sorted({variant.initialise for variant in tuning.variants if variant is not tuning.stock}, key=start_rank)
    colours = {start: OKABE_ITO[place % len(OKABE_ITO)] for place, start in enumerate(starts)}
    printed = [router for router in paper.FINE_TUNING if router in routers]
    figure, axes = panels(len(routers) + bool(printed), width=3.1, height=1.9)
    for ax, router in zip(axes[: len(routers)], routers, strict=True):
        if tuning.stock:
            _draw_runs(ax, tuning.stock.trained, _STOCK, "-", "stock")
        for variant in tuning.variants:
            if variant.router == router and variant is not tuning.stock:
                colour, start = colours[variant.initialise], f"{variant.initialise} start"
                _draw_runs(ax, variant.trained, colour, "-", start)
                _draw_runs(ax, variant.frozen, colour, "--", f"{start}, frozen")
        _finish(ax, title_of(router, 3.1))
    if printed:
        _draw_paper(figure, axes[-1], printed)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("training loss", fontsize=9)
    shared_legend(figure, axes[: len(routers)], columns=3, loc="outside upper left")
    return figure


def _points(runs: Runs) -> list[tuple[int, list[float]]]:
    """Steps with the losses of all seeds, those that a logarithmic axis can show."""
    logged = [(step, list(runs.at(step, lambda log: log.loss).values())) for step in runs.steps]
    return [(step, losses) for step, losses in logged if losses and min(losses) > 0]


def _draw_runs(ax: Axes, runs: Runs, colour: str, style: str, name: str) -> None:
    points = _points(runs)
    if not points:
        return
    at = [step for step, _ in points]
    ax.plot(at, _each(points, fmean), style, color=colour, linewidth=1.3, marker=".", markersize=4, label=label(name))
    if style == "-":
        ax.fill_between(at, _each(points, min), _each(points, max), color=colour, alpha=0.2, linewidth=0)


def _each(points: Sequence[tuple[int, list[float]]], reduce: Callable[[list[float]], float]) -> list[float]:
    return [reduce(losses) for _, losses in points]


def _draw_paper(figure: Figure, place: Axes, routers: Sequence[str]) -> None:
    """The paper's curves in the last panel, which shares no axis with the others: theirs span four decades."""
    spot = place.get_subplotspec()
    place.remove()
    ax = figure.add_subplot(spot)  # type: ignore[arg-type]  # a panel of a grid has one
    for router, style in zip(routers, ("o-", "s-"), strict=False):
        losses = paper.FINE_TUNING[router].losses
        at, values = list(losses), [printed.value for printed in losses.values()]
        ax.plot(at, values, style, color=_PAPER, markersize=3.5, linewidth=1)
        ax.annotate(router, (at[1], values[1]), (5, 4), textcoords="offset points", fontsize=8)
    # To the right, where no other panel has its own.
    ax.yaxis.tick_right()
    ax.spines["left"].set_visible(False)
    ax.spines["right"].set_visible(True)
    # There they need no room of their own, which would part the columns above; at the figure's edge they do.
    ax.yaxis.set_in_layout(spot is None or spot.is_last_col())
    _finish(ax, "the paper, on Qwen1.5-MoE")


def _finish(ax: Axes, title: str) -> None:
    ax.set_yscale("log")
    ax.set_title(title)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10), integer=True))
    log_ticks(ax.yaxis, *ax.get_ylim())
    ax.grid(axis="y")
    ax.set_axisbelow(True)
