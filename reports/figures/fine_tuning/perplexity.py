"""Held-out perplexity before training and after it, a row per router."""

from __future__ import annotations

from collections.abc import Collection
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.errors import MissingDataError
from reports.figures.style import label, log_ticks, name_rows, shared_legend
from reports.figures.theme import FAINT, OKABE_ITO, QUIET
from reports.format import registry
from reports.format.plot import Plot
from reports.records.fine_tuning import FineTuning, Variant
from reports.tables.fine_tuning.perplexity import after, before

_BEFORE, _AFTER, _FROZEN = OKABE_ITO[1], OKABE_ITO[0], OKABE_ITO[3]
# How far apart, in rows, a router's values stand.
_APART = 0.22
_ORIGINAL = QUIET
# Inches that the legend takes.
_LEGEND_WIDTH = 7.0


@registry.figure("fine-tuning", "Figure of held-out perplexity", place=2)
@registry.of_fine_tuning
def slopes(tuning: FineTuning) -> Plot:
    """A panel per start; seeds are points, their mean a stroke, an arrow leads from before to after."""
    by_start: dict[str, list[Variant]] = {}
    for variant in tuning.variants:
        if variant is not tuning.stock and variant.at_start(before):
            by_start.setdefault(variant.initialise, []).append(variant)
    if not by_start:
        raise MissingDataError("the files hold no held-out perplexity of another router than the model's own")
    return Plot(
        name="held-out-perplexity",
        title="Held-out perplexity before and after fine-tuning",
        caption="Logarithmic axis; lower is better. Each point is a seed, each stroke a mean. Frozen: the adapters "
        "alone were trained. Lines: the untouched model, and the model's own gates after the same training.",
        draw=lambda: _draw(tuning, by_start),
    )


def _draw(tuning: FineTuning, by_start: dict[str, list[Variant]]) -> Figure:
    routers = [router for router in tuning.routers if any(v.router == router for vs in by_start.values() for v in vs)]
    figure = Figure(
        figsize=(max(_LEGEND_WIDTH, 3.9 * len(by_start) + 1.6), 0.5 * len(routers) + 1.5), layout="constrained"
    )
    axes = figure.subplots(1, len(by_start), sharey=True, sharex=True, squeeze=False)[0]
    for ax, (start, variants) in zip(axes, by_start.items(), strict=True):
        _draw_references(ax, tuning)
        for variant in variants:
            _draw_variant(ax, variant, routers.index(variant.router))
        ax.set(title=label(f"{start} start"), xlabel="perplexity", xscale="log")
        ax.grid(axis="x")
        ax.set_axisbelow(True)
    # The panels share one axis, whose limits stand only now.
    log_ticks(axes[0].xaxis, *axes[0].get_xlim())
    name_rows(axes[0], routers)
    shared_legend(figure, axes, columns=5)
    return figure


def _draw_references(ax: Axes, tuning: FineTuning) -> None:
    if tuning.original is not None:
        ax.axvline(tuning.original, color=_ORIGINAL, linewidth=1, linestyle=":", label="untouched model")
    trained = list(tuning.stock.trained.known(after).values()) if tuning.stock else []
    if trained:
        ax.axvline(fmean(trained), color=_ORIGINAL, linewidth=1, linestyle="--", label="stock, trained")


def _draw_variant(ax: Axes, variant: Variant, row: int) -> None:
    values = {
        "before": (variant.at_start(before).values(), _BEFORE, -_APART),
        "after": (variant.trained.known(after).values(), _AFTER, 0.0),
        "after, frozen": (variant.frozen.known(after).values(), _FROZEN, _APART),
    }
    for name, (points, colour, offset) in values.items():
        _draw_points(ax, points, row + offset, colour, name)
    first, last = values["before"][0], values["after"][0]
    if first and last:
        ax.annotate(
            "",
            xy=(fmean(last), row),
            xytext=(fmean(first), row - _APART),
            arrowprops={"arrowstyle": "->", "color": FAINT, "linewidth": 0.8, "shrinkA": 5, "shrinkB": 5},
        )


def _draw_points(ax: Axes, points: Collection[float], row: float, colour: str, name: str) -> None:
    if not points:
        return
    ax.plot(list(points), [row] * len(points), "o", color=colour, markersize=4, alpha=0.75, label=name)
    ax.plot([fmean(points)], [row], "|", color=colour, markersize=9, markeredgewidth=1.6)
