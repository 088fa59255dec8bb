"""How the load changes along the trace. Axes: W windows, L layers."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from reports.errors import MissingDataError
from reports.figures.theme import FAINT, OKABE_ITO
from reports.format.numbers import count, fixed, significant
from reports.format.plot import Plot
from reports.format.table import Column, Table
from reports.traces.analysis import Analysis
from reports.traces.measuring.drift import Drift
from reports.traces.views.shown import WIDTH, figure, table


def _known(analysis: Analysis) -> Drift:
    if analysis.drift is None:
        raise MissingDataError("there is one window of tokens alone")
    return analysis.drift


def _beside(found: Drift) -> str:
    chance = float(found.by_chance[-1].mean())
    return "" if np.isnan(chance) else f"; chance alone would give {significant(100 * chance)} %"


@table("drift", "Table of drift", place=0)
def drift_table(analysis: Analysis) -> Table:
    """A row a window."""
    found = _known(analysis)
    rows = [
        {
            "start": start,
            "tokens": int(found.tokens[place]),
            "from_first": float(found.from_first[place].mean()),
            "largest": float(found.from_first[place].max()),
            "from_last": None if place == 0 else float(found.from_last[place].mean()),
            "by_chance": float(found.by_chance[place].mean()),
        }
        for place, start in enumerate(found.labels)
    ]
    what = "step" if found.by_steps else "token"
    layer = int(np.argmax(found.from_first[-1]))
    return Table(
        name="drift",
        title="Drift of the load",
        caption="Total-variation distance of a window's load from that of the first window and of the one before: "
        "the share of assignments that would have to move to another expert; means over layers. By chance: the "
        "distance from the first window that independent tokens of one and the same distribution would have. Tokens "
        "that stand together in a text are alike, so that some more than that is no drift.",
        rows=rows,
        columns=(
            Column(f"From {what}", ("start",), count),
            Column(found.counted, ("tokens",), count),
            Column("From the first", ("from_first",), fixed(4)),
            Column("Largest layer", ("largest",), fixed(4)),
            Column("From the last", ("from_last",), fixed(4)),
            Column("By chance", ("by_chance",), fixed(4)),
        ),
        findings=(
            f"From the first to the last of {len(rows)} windows "
            f"{significant(100 * float(found.from_first[-1].mean()))} % of the load moved to other experts in the "
            f"mean over layers, most in layer {analysis.layer_names[layer]}{_beside(found)}.",
        ),
    )


@figure("drift", "Figure of drift", place=0)
def drift_figure(analysis: Analysis) -> Plot:
    """Distance from the first window, over windows."""
    found = _known(analysis)

    def draw() -> Figure:
        drawn = Figure(figsize=(WIDTH, 2.8), layout="constrained")
        axes = drawn.subplots()
        places = np.arange(len(found.labels))
        low, high = found.from_first.min(axis=1), found.from_first.max(axis=1)
        axes.fill_between(places, low, high, color=OKABE_ITO[4], alpha=0.3, linewidth=0, label="all layers")
        axes.plot(
            found.from_first.mean(axis=1),
            marker="o",
            markersize=3,
            linewidth=1,
            color=OKABE_ITO[0],
            label="mean over layers",
        )
        if not np.isnan(found.by_chance).all():
            axes.plot(found.by_chance.mean(axis=1), linewidth=1, color=FAINT, label="by chance")
        every = -(-len(places) // 12)
        axes.set_xticks(places[::every], [f"{each:,}" for each in found.labels[::every]], fontsize=7)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step" if found.by_steps else "first token of the window")
        axes.set_ylabel("distance from the first window")
        drawn.legend(loc="outside upper center", ncols=3)
        return drawn

    return Plot(
        name="drift",
        title="Drift of the load along the trace",
        caption="Total-variation distance of each window's load from the first window's; the band spans the layers.",
        draw=draw,
    )
