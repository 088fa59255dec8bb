"""How evenly each layer's experts are loaded. Axes: L layers, E experts."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from reports.figures.style import label
from reports.figures.theme import FAINT, OKABE_ITO
from reports.format.numbers import count, percent, significant
from reports.format.plot import Plot
from reports.format.table import Column, Table, text_column
from reports.traces.analysis import Analysis
from reports.traces.measuring.measures import LOAD_MEASURES, shares
from reports.traces.views.shown import WIDTH, by_layer, figure, heat_map, table

_LONGEST_LIST = 512
"""So many experts have a bar of their own."""


@table("balance", "Table of balance by layer", place=0)
def balance(analysis: Analysis) -> Table:
    """A row a layer: the metrics of `routers.metrics` of its load."""
    busiest = analysis.load.argmax(axis=-1)
    rows = [
        {
            "layer": name,
            **{each.name: _number(analysis.measures[each.name][layer]) for each in LOAD_MEASURES},
            "busiest_expert": int(busiest[layer]),
            "busiest_share": float(shares(analysis.load[layer]).max()),
            "experts_per_token": None
            if analysis.experts_per_token is None
            else float(analysis.experts_per_token[0, layer]),
        }
        for layer, name in enumerate(analysis.layer_names)
    ]
    measured = [Column(each.label, (each.name,), each.show) for each in LOAD_MEASURES]
    defined = "; ".join(f"{each.label}: {each.definition}" for each in LOAD_MEASURES)
    return Table(
        name="balance",
        title="Balance by layer",
        caption=f"{defined}. ln E = {np.log(analysis.num_experts):.4f}. The last columns name the busiest expert and "
        f"its share of all assignments; an even share is {percent(1 / analysis.num_experts)}.",
        rows=rows,
        columns=(
            text_column("Layer", "layer"),
            *measured,
            Column("Busiest expert", ("busiest_expert",), count),
            Column("Its share", ("busiest_share",), percent),
        ),
        findings=tuple(_findings(analysis)),
    )


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _findings(analysis: Analysis) -> list[str]:
    violation, names = analysis.measures["max_violation"], analysis.layer_names
    worst, best = int(np.argmax(violation)), int(np.argmin(violation))
    said = [
        f"The most uneven layer is {names[worst]}: its busiest expert, {analysis.load[worst].argmax()}, has "
        f"{significant(float(violation[worst]) + 1)} times the mean load"
        + (
            f"; in the median layer it is {significant(float(np.median(violation)) + 1)} times, in the most even one, "
            f"{names[best]}, {significant(float(violation[best]) + 1)} times."
            if len(names) > 1
            else "."
        )
    ]
    dead = np.rint(analysis.measures["dead_experts"] * analysis.num_experts)
    if np.nansum(dead):
        number = int(np.nansum(dead))
        said.append(
            f"{number:,} {'expert has' if number == 1 else 'experts have'} less than 0.1 % of the load, in "
            f"{int((dead > 0).sum())} of {len(names)} layers."
        )
    said.append(f"The median CV is {significant(float(np.median(analysis.measures['cv'])))}{_beside(analysis)}.")
    return said


def _beside(analysis: Analysis) -> str:
    if analysis.cv_by_chance is None:
        return ""
    tokens = f"{analysis.num_tokens:,} tokens"
    return f"; experts chosen at random would have {significant(analysis.cv_by_chance)} at {tokens}"


@figure("balance", "Figure of the load by layer and expert", place=0)
def load_map(analysis: Analysis) -> Plot:
    """The load of all layers as a heat map."""
    relative = shares(analysis.load) * analysis.num_experts
    return Plot(
        name="load",
        title="Load of each expert in each layer",
        caption="Each cell is an expert's share of its layer's assignments over the even share: 1 is even, 0 an "
        "expert that no token reached. A bright column would be an expert's place in all layers, a bright cell one "
        "busy expert.",
        draw=lambda: heat_map(relative, analysis.layer_names, "expert", "load over an even share"),
    )


@figure("balance", "Figure of the load of the least and the most even layer", place=1)
def load_bars(analysis: Analysis) -> Plot:
    """Bars of the least even layer, and of the most even one."""
    violation = analysis.measures["max_violation"]
    layers = list(dict.fromkeys([int(np.argmax(violation)), int(np.argmin(violation))]))
    return Plot(
        name="load-bars",
        title="Load of the least and of the most even layer" if len(layers) > 1 else "Load of the layer",
        caption="Experts from the busiest to the idlest, each with its share of the layer's assignments; the line is "
        "the even share.",
        draw=lambda: _bars(analysis, layers),
    )


def _bars(analysis: Analysis, layers: list[int]) -> Figure:
    drawn = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    panels = drawn.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    for axes, layer in zip(panels, layers, strict=True):
        ranked = np.sort(shares(analysis.load[layer]))[::-1][:_LONGEST_LIST]
        axes.bar(np.arange(len(ranked)), 100 * ranked, width=0.9 if len(ranked) < 100 else 1.0, color=OKABE_ITO[0])
        axes.axhline(100 / analysis.num_experts, color=OKABE_ITO[5], linewidth=1, label="even share")
        axes.set(title=f"layer {label(analysis.layer_names[layer])}", xlabel="experts, by load", xticks=[])
    panels[0].set_ylabel("% of assignments")
    panels[0].legend(loc="upper right")
    return drawn


@figure("balance", "Figure of MaxVio and CV by layer", place=2)
def along_layers(analysis: Analysis) -> Plot:
    """Two metrics of balance along the layers."""

    def draw() -> Figure:
        drawn = Figure(figsize=(WIDTH, 2.7), layout="constrained")
        panels = drawn.subplots(1, 2)
        for axes, name, heading in zip(panels, ("max_violation", "cv"), ("MaxVio", "CV"), strict=True):
            axes.plot(analysis.measures[name], marker="o", markersize=3, linewidth=1, color=OKABE_ITO[0])
            axes.set_ylim(bottom=0)
            axes.set_title(heading)
            by_layer(analysis.layer_names, axes)
        if analysis.cv_by_chance is not None:
            label_of_line = "of experts chosen at random"
            panels[1].axhline(analysis.cv_by_chance, color=FAINT, linewidth=1, label=label_of_line)
            panels[1].legend(loc="best")
        return drawn

    return Plot(
        name="balance-along-layers",
        title="Balance along the layers",
        caption="MaxVio is the busiest expert's load over the mean minus one, CV the deviation of all loads over "
        "their mean: 0 is even in both. The grey line is what chance alone leaves of so many tokens.",
        draw=draw,
    )
