"""Two traces of the same tokens. Axes: L layers, K experts per token."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from reports.errors import MissingDataError
from reports.figures.theme import OKABE_ITO
from reports.format.numbers import count, percent
from reports.format.plot import Plot
from reports.format.table import Column, Table, text_column
from reports.traces.analysis import Analysis
from reports.traces.measuring.agreement import Agreement
from reports.traces.views.shown import Line, figure, lines_by_layer, table


def _known(analysis: Analysis) -> Agreement:
    if analysis.agreement is None:
        raise MissingDataError("there is no other trace of the same tokens (--against)")
    return analysis.agreement


@table("agreement", "Table of agreement by layer", place=0)
def by_layer_table(analysis: Analysis) -> Table:
    """A row a layer."""
    found = _known(analysis)
    worst = int(np.argmax(found.differs))
    rows = [
        {
            "layer": name,
            "differs": float(found.differs[layer]),
            "up_to": float(found.up_to[layer]),
            "flip_rate": float(found.flip_rate[layer]),
            "reordered": float(found.moved[layer].mean()),
        }
        for layer, name in enumerate(analysis.layer_names)
    ]
    return Table(
        name="agreement",
        title="Agreement of the two traces by layer",
        caption=f"{found.tokens:,} tokens of this trace and of {found.source}. Set differs: share of the tokens "
        "whose set of experts is not the same; up to here: in this layer or one before; flip rate: share of the "
        "selected experts that the other trace did not select; reordered: share of them that it selected at another "
        "rank.",
        rows=rows,
        columns=(
            text_column("Layer", "layer"),
            Column("Set differs", ("differs",), percent),
            Column("Up to here", ("up_to",), percent),
            Column("Flip rate", ("flip_rate",), percent),
            Column("Reordered", ("reordered",), percent),
        ),
        findings=(
            f"{percent(found.anywhere)} of the tokens have another set of experts in some layer than in "
            f"{found.source}; most in layer {analysis.layer_names[worst]}, {percent(float(found.differs[worst]))}; "
            f"the flip rate is {percent(float(found.flip_rate.mean()))} over all layers.",
        ),
    )


@table("agreement", "Table of agreement by rank", place=1)
def by_rank(analysis: Analysis) -> Table:
    """A row a rank of a token's experts."""
    found = _known(analysis)
    rows = [
        {"rank": rank + 1, "lost": float(found.lost[:, rank].mean()), "moved": float(found.moved[:, rank].mean())}
        for rank in range(found.lost.shape[1])
    ]
    return Table(
        name="agreement-by-rank",
        title="Agreement by rank",
        caption="Mean over layers, for a token's first expert to its last: the share that the other trace did not "
        "select, and the share that it selected at another rank. Rounding changes the last ranks, where scores lie "
        "close; another order of all ranks may just be an engine that does not sort.",
        rows=rows,
        columns=(
            Column("Rank", ("rank",), count),
            Column("Not selected", ("lost",), percent),
            Column("At another rank", ("moved",), percent),
        ),
    )


@figure("agreement", "Figure of agreement along the layers", place=0)
def along_layers(analysis: Analysis) -> Plot:
    """Shares of tokens that differ, along the layers."""
    found = _known(analysis)

    lines = (
        Line("in this layer or before", OKABE_ITO[5], 100 * found.up_to),
        Line("in this layer", OKABE_ITO[0], 100 * found.differs),
        Line("flip rate", OKABE_ITO[2], 100 * found.flip_rate, marked=False),
    )

    def draw() -> Figure:
        drawn, axes = lines_by_layer(lines, analysis.layer_names, "%")
        axes.set_ylim(bottom=0)
        return drawn

    return Plot(
        name="agreement",
        title="Tokens whose experts differ, along the layers",
        caption="Share of the tokens whose set of experts is not the same in the two traces, and the flip rate, the "
        "share of the experts.",
        draw=draw,
    )
