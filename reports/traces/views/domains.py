"""Whether experts know domains. Axes: L layers, E experts, G domains."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.errors import MissingDataError
from reports.figures.style import label
from reports.figures.theme import FAINT, OKABE_ITO
from reports.format.numbers import count, fixed, percent, significant
from reports.format.plot import Plot
from reports.format.table import Column, Table, text_column
from reports.traces.analysis import Analysis
from reports.traces.measuring.domains import Domains
from reports.traces.measuring.measures import shares
from reports.traces.views.shown import WIDTH, by_layer, figure, table

_TOP = 3


def _known(analysis: Analysis) -> Domains:
    if analysis.domains is None:
        raise MissingDataError("the files say no domain of a token, and no --domains was given")
    if len(analysis.domains.names) < 2:
        raise MissingDataError(f"all tokens are of one domain, {analysis.domains.names[0][:40]!r}")
    return analysis.domains


def _layer(domains: Domains) -> int:
    return int(np.argmax(domains.information - domains.by_chance))


@table("domains", "Table of specialisation by domain", place=0)
def by_domain(analysis: Analysis) -> Table:
    """A row a domain, in the layer that tells domains apart best."""
    domains = _known(analysis)
    layer = _layer(domains)
    load, total = shares(domains.load[:, layer]), shares(analysis.load[layer])
    rows = []
    for place, name in enumerate(domains.names):
        lift = np.divide(load[place], total, out=np.zeros_like(total), where=total > 0)
        top = np.argsort(-load[place], kind="stable")[:_TOP]
        rows.append(
            {
                "domain": name,
                "assignments": int(domains.load[place, layer].sum()),
                "experts": ", ".join(str(int(each)) for each in top),
                "their_share": float(load[place][top].sum()),
                "most_of_its_own": int(np.argmax(lift)),
                "times_the_whole": float(lift.max()),
                "distance": float(np.abs(load[place] - total).sum() / 2),
            }
        )
    here, chance = float(domains.information[layer]), float(domains.by_chance[layer])
    return Table(
        name="domains",
        title=f"Domains in layer {analysis.layer_names[layer]}, which tells them apart best",
        caption="Assignments of a domain's tokens, its busiest experts and their share, the expert that it uses most "
        "beyond the whole trace and how many times as much, and the total-variation distance of its load from the "
        "whole trace's.",
        rows=rows,
        columns=(
            text_column("Domain", "domain"),
            Column("Assignments", ("assignments",), count),
            text_column("Busiest experts", "experts"),
            Column("Their share", ("their_share",), percent),
            Column("Most of its own", ("most_of_its_own",), count),
            Column("Times the whole", ("times_the_whole",), significant),
            Column("Distance", ("distance",), fixed(3)),
        ),
        findings=(
            f"Experts tell the {len(domains.names)} domains apart best in layer {analysis.layer_names[layer]}: an "
            f"expert and its token's domain share {fixed(4)(here)} nats, of which chance would give "
            f"{fixed(4)(chance)}.",
        ),
    )


@figure("domains", "Figure of specialisation along the layers", place=0)
def information(analysis: Analysis) -> Plot:
    """Mutual information of expert and domain, layer by layer."""
    domains = _known(analysis)

    def draw() -> Figure:
        drawn = Figure(figsize=(WIDTH, 2.7), layout="constrained")
        axes = drawn.subplots()
        axes.plot(domains.information, marker="o", markersize=3, linewidth=1, color=OKABE_ITO[0], label="of this trace")
        axes.plot(domains.by_chance, linewidth=1, color=FAINT, label="of domains that have nothing to do with experts")
        axes.set_ylim(bottom=0)
        axes.set_ylabel("nats")
        by_layer(analysis.layer_names, axes)
        axes.legend(loc="best")
        return drawn

    return Plot(
        name="domain-information",
        title="What an expert says of its token's domain, along the layers",
        caption="Mutual information of an assignment's expert and its token's domain: 0 where all domains use the "
        "experts alike, at most the entropy of the domains. Tokens of one text are alike, so that chance gives "
        "somewhat more than the grey line.",
        draw=draw,
    )


@figure("domains", "Figure of domains and experts", place=1)
def load_by_domain(analysis: Analysis) -> Plot:
    """Domains against experts in the layer that tells them apart best."""
    domains = _known(analysis)
    layer = _layer(domains)

    def draw() -> Figure:
        load, total = shares(domains.load[:, layer]), shares(analysis.load[layer])
        lift = np.divide(load, total[None], out=np.full(load.shape, np.nan), where=total[None] > 0)
        drawn = Figure(figsize=(WIDTH, max(1.9, 1.2 + 0.22 * len(load))), layout="constrained")
        axes = drawn.subplots()
        image = axes.imshow(lift, aspect="auto", interpolation="none", cmap="viridis", vmin=0)
        axes.set_yticks(range(len(domains.names)), [label(each) for each in domains.names], fontsize=7)
        axes.set_xlabel("expert")
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        drawn.colorbar(image, ax=axes, label="over the whole trace", shrink=0.9)
        return drawn

    return Plot(
        name="domain-load",
        title=f"Domains and experts in layer {analysis.layer_names[layer]}",
        caption="Each cell is an expert's share of a domain's assignments over its share of all: 1 where the domain "
        "uses it as the others do.",
        draw=draw,
    )
