"""What expert-parallel ranks wait for. Axes: L layers, R ranks."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from reports.errors import MissingDataError
from reports.figures.style import colours
from reports.figures.theme import FAINT
from reports.format.numbers import count, fixed, listing, significant
from reports.format.plot import Plot
from reports.format.table import Column, Table
from reports.traces.analysis import Analysis
from reports.traces.views.shown import Line, figure, lines_by_layer, table


@table("ranks", "Table of imbalance over ranks", place=0)
def ranks(analysis: Analysis) -> Table:
    """A row a number of ranks."""
    rows = []
    for number, found in _known(analysis).items():
        worst = int(np.argmax(found))
        rows.append(
            {
                "ranks": number,
                "mean": float(found.mean()),
                "median": float(np.median(found)),
                "worst": float(found[worst]),
                "worst_layer": analysis.layer_names[worst],
            }
        )
    last = rows[-1]
    return Table(
        name="ranks",
        title="Imbalance over expert-parallel ranks",
        caption="The busiest rank's load over the mean, the experts placed in order (rank r has experts r·E/R to (r "
        "+ 1)·E/R − 1), over all tokens of the trace: 1 is even, R a rank that has everything. All ranks wait for "
        "the busiest; single batches are less even than their sum.",
        rows=rows,
        columns=(
            Column("Ranks", ("ranks",), count),
            Column("Mean over layers", ("mean",), fixed(3)),
            Column("Median", ("median",), fixed(3)),
            Column("Worst", ("worst",), fixed(3)),
            Column("Its layer", ("worst_layer",), str, is_number=False),
        ),
        findings=(
            f"With {last['ranks']} expert-parallel ranks the busiest one has {significant(last['mean'])} times the "
            f"mean load in the mean over layers, {significant(last['worst'])} times in layer {last['worst_layer']}.",
        ),
    )


@figure("ranks", "Figure of imbalance over ranks", place=0)
def along_layers(analysis: Analysis) -> Plot:
    """A line a number of ranks, along the layers."""
    found = _known(analysis)

    lines = [
        Line(f"{number} ranks", colour, values)
        for colour, (number, values) in zip(colours(len(found)), found.items(), strict=True)
    ]

    def draw() -> Figure:
        drawn, axes = lines_by_layer(lines, analysis.layer_names, "busiest rank over mean")
        axes.axhline(1, color=FAINT, linewidth=1)
        return drawn

    return Plot(
        name="ranks",
        title="Load of the busiest rank along the layers",
        caption=f"For {listing([str(each) for each in found])} ranks; the line at 1 is even.",
        draw=draw,
    )


def _known(analysis: Analysis) -> dict[int, np.ndarray]:
    if not analysis.rank_imbalance:
        raise MissingDataError(
            f"neither 2, 4 nor 8 ranks divide {analysis.num_experts} experts; --ranks asks for others"
        )
    return analysis.rank_imbalance
