"""Which experts are selected together. Axes: L layers, E experts, K experts per token."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.errors import MissingDataError
from reports.figures.style import label, panels
from reports.format.numbers import count, percent, significant
from reports.format.plot import Plot
from reports.format.table import Column, Table, text_column
from reports.traces.analysis import Analysis
from reports.traces.measuring.measures import distance
from reports.traces.trace import Array
from reports.traces.views.shown import figure, table

_ROWS, _PANELS = 20, 3
_EXPECTED_AT_LEAST = 5.0
"""Pairs that chance makes fewer of than this are left out of the strongest: their ratio says nothing."""


def _known(analysis: Analysis) -> tuple[Array, Array, Array]:
    if analysis.pairs is None or analysis.independent is None or analysis.co_activation is None:
        if analysis.top_k == 1:
            raise MissingDataError("each token has one expert, and no two are selected together")
        if analysis.num_tokens is None:
            raise MissingDataError("the files hold counts without tokens")
        raise MissingDataError(f"{analysis.num_layers} layers of {analysis.num_experts:,} experts have too many pairs")
    return analysis.pairs, analysis.independent, analysis.co_activation


def structure(analysis: Analysis) -> Array:
    """Total-variation distance of a layer's pairs from those of independent experts, (L,)."""
    pairs, independent, _ = _known(analysis)
    return np.nan_to_num(distance(pairs.reshape(len(pairs), -1), independent.reshape(len(pairs), -1)))


def strongest(analysis: Analysis, limit: int) -> Iterator[dict[str, object]]:
    """The pairs whose count is furthest above that of independent experts, over its deviation, strongest first."""
    pairs, independent, given = _known(analysis)
    excess = np.where(independent >= _EXPECTED_AT_LEAST, (pairs - independent) / np.sqrt(np.maximum(independent, 1)), 0)
    excess[:, *np.tril_indices(analysis.num_experts)] = 0
    flat = excess.reshape(-1)
    for place in np.argsort(-flat, kind="stable")[:limit]:
        if flat[place] <= 0:
            return
        layer, first, second = (int(each) for each in np.unravel_index(place, excess.shape))
        yield {
            "layer": analysis.layer_names[layer],
            "first": first,
            "second": second,
            "tokens": int(pairs[layer, first, second]),
            "independent": float(independent[layer, first, second]),
            "ratio": float(pairs[layer, first, second] / independent[layer, first, second]),
            "second_given_first": float(given[layer, first, second]),
            "first_given_second": float(given[layer, second, first]),
        }


@table("co-activation", "Table of pairs", place=0)
def strongest_pairs(analysis: Analysis) -> Table:
    """The pairs that occur most beyond chance."""
    rows = list(strongest(analysis, _ROWS))
    if not rows:
        raise MissingDataError(
            "no pair of experts occurs more often than chance has it, or the tokens are too few to tell"
        )
    first = rows[0]
    return Table(
        name="pairs",
        title="Experts that are selected together",
        caption="The pairs that stand out most, in all layers: tokens that have both, the number that experts "
        "selected without regard to each other would share (as many pairs in all, in proportion to both loads), "
        f"their ratio, and the share of one expert's tokens that have the other too. Of {analysis.pair_tokens:,} "
        f"tokens{', evenly spread' if analysis.pair_tokens < (analysis.num_tokens or 0) else ''}.",
        rows=rows,
        columns=(
            text_column("Layer", "layer"),
            Column("Expert i", ("first",), count),
            Column("Expert j", ("second",), count),
            Column("Tokens with both", ("tokens",), count),
            Column("If independent", ("independent",), significant),
            Column("Ratio", ("ratio",), significant),
            Column("P(j | i)", ("second_given_first",), percent),
            Column("P(i | j)", ("first_given_second",), percent),
        ),
        findings=(
            f"Experts {first['first']} and {first['second']} of layer {first['layer']} are selected together "
            f"{significant(first['ratio'])} times as often as independent ones would be.",
        ),
    )


@figure("co-activation", "Figure of co-activation", place=0)
def co_activation(analysis: Analysis) -> Plot:
    """The layers whose pairs are furthest from independent ones."""
    found = structure(analysis)
    layers = [int(each) for each in np.sort(np.argsort(-found, kind="stable")[:_PANELS])]
    return Plot(
        name="co-activation",
        title="Co-activation" + (f" in the {len(layers)} layers that have most of it" if len(layers) > 1 else ""),
        caption="Each cell is how often two experts are selected for the same token, over how often independent "
        "experts of their loads would be: red more often, blue less, white as often. The scale ends at 4 times. "
        "Above each panel, the share of pairs that would have to change for independence; some of it is chance.",
        draw=lambda: _draw(analysis, layers, found),
    )


def _draw(analysis: Analysis, layers: list[int], found: Array) -> Figure:
    pairs, independent, _ = _known(analysis)
    drawn, axes = panels(len(layers), width=3.1, height=2.8)
    for panel, layer in zip(axes, layers, strict=True):
        expected = independent[layer]
        ratio = np.divide(pairs[layer], expected, out=np.full(expected.shape, np.nan), where=expected > 0)
        image = panel.imshow(ratio, cmap="RdBu_r", norm=TwoSlopeNorm(1, 0, 4), interpolation="none")
        panel.set_title(f"layer {label(analysis.layer_names[layer])}: {percent(found[layer])}")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(MaxNLocator(6, integer=True))
    drawn.supxlabel("expert", fontsize=9)
    drawn.supylabel("expert", fontsize=9)
    drawn.colorbar(image, ax=axes, label="over independent", shrink=0.7, ticks=[0, 0.5, 1, 2, 3, 4])
    return drawn
