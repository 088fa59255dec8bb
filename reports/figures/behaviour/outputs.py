"""Figure 5: the distribution of the MoE layer's outputs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.errors import MissingDataError
from reports.figures.input_sizes import size_sentence
from reports.figures.style import label
from reports.figures.theme import GRID, OKABE_ITO
from reports.format import registry
from reports.format.inputs import quoted
from reports.format.numbers import listing
from reports.format.plot import Plot
from reports.records.measurements import Entry
from reports.records.report_data import ReportData
from reports.records.sample import Histogram

_NARROWEST = 1e-200
"""Bins of less width hold outputs that are all the same."""
_TALLEST = 4.0
"""Times the median peak of a panel; a ridge that is higher would leave nothing of the others, and is cut off."""
_ROW = 0.5
"""Inches of a ridge."""


@dataclass(frozen=True)
class Ridge:
    """One router's outputs: their histogram without the tails, and their standard deviation with them."""

    histogram: Histogram
    sd: float | None


@registry.figure("figures", "Figure 5 on “{}”", place=5, keys=registry.inputs_sampled)
def distribution(input_name: str, data: ReportData) -> Plot:
    """Figure 5: a ridge per router, a panel per kind of experts."""
    by_kind: dict[str, dict[str, Ridge]] = {}
    for entry in data.select("router", input_name):
        for kind, histogram in entry.sample.outputs.items() if entry.sample else ():
            if sum(histogram.counts) > 0:
                by_kind.setdefault(kind, {})[entry.router] = Ridge(histogram, _first_seed_sd(entry, kind))
    if not by_kind:
        raise MissingDataError(f"the files hold no output histogram on input “{input_name}”")
    return Plot(
        name=f"figure-5-{input_name}",
        title=f"Figure 5, input {quoted(data, input_name)}: distribution of the layer's output",
        caption="Outputs of the MoE layer, first seed, one panel per kind of experts: a wide ridge is a layer with "
        "large outputs. All ridges of a panel have one scale, so that they cover equal areas: the narrower, the higher"
        f"{_cut_off(by_kind)}. Copied experts answer alike whoever selects them, so that all routers have one ridge; "
        "those that share out a network's neurons, or are random, answer by what the router does. The axis leaves out "
        "the tails, 0.2 % of the widest router's outputs and more; σ is the standard deviation of all outputs of that "
        f"seed, tails included, and they can make up a large part of it.{size_sentence(data, input_name)}",
        draw=lambda: _draw(by_kind),
    )


def _first_seed_sd(entry: Entry, kind: str) -> float | None:
    layer = entry.behaviour.layer.get(kind)
    return next(iter(layer.output_std.by_seed.values()), None) if layer else None


def _alike(routers: dict[str, Ridge]) -> dict[str, Ridge]:
    """One ridge where all are the same, as those of copied experts are."""
    first, *others = routers.values()
    if len(others) < 2 or not all(_same(first, other) for other in others):
        return routers
    return {f"all {len(routers)} routers": first}


def _same(first: Ridge, second: Ridge) -> bool:
    """Whether two ridges look the same; what rounding moves over an edge is a count or two."""
    ours, theirs = first.histogram, second.histogram
    if len(ours.counts) != len(theirs.counts) or first.sd is None or second.sd is None:
        return first == second
    moved = sum(abs(a - b) for a, b in zip(ours.counts, theirs.counts, strict=True))
    return math.isclose(first.sd, second.sd, rel_tol=1e-4) and moved <= 1e-3 * sum(ours.counts)


def _draw(by_kind: dict[str, dict[str, Ridge]]) -> Figure:
    by_kind = {kind: _alike(routers) for kind, routers in by_kind.items()}
    numbers = [len(routers) for routers in by_kind.values()]
    if len(set(numbers)) > 1:
        # Side by side the shorter panel would be empty below.
        figure = Figure(figsize=(5.6, _ROW * sum(numbers) + 0.95 * len(numbers)), layout="constrained")
        axes = figure.subplots(len(numbers), 1, squeeze=False, gridspec_kw={"height_ratios": numbers})[:, 0]
    else:
        figure = Figure(figsize=(4.0 * len(numbers) + 1.6, _ROW * numbers[0] + 1.3), layout="constrained")
        axes = figure.subplots(1, len(numbers), squeeze=False)[0]
    for place, (ax, (kind, routers)) in enumerate(zip(axes, by_kind.items(), strict=True)):
        _draw_ridges(ax, routers)
        if place and len(set(numbers)) == 1 and list(routers) == list(next(iter(by_kind.values()))):
            ax.tick_params(labelleft=False)
        ax.set(title=f"{label(kind)} experts", xlabel="output", ylim=(0.7 - len(routers), 1))
    return figure


def _draw_ridges(ax: Axes, routers: dict[str, Ridge]) -> None:
    reach = max(_reach(ridge.histogram) for ridge in routers.values())
    tallest = _scale(routers.values())
    for row, ridge in enumerate(routers.values()):
        centres, density = _density(ridge.histogram)
        base = -row
        colour = OKABE_ITO[row % 6]
        height = 0.85 * np.minimum(density / tallest, 1)
        ax.fill_between(centres, base, base + height, color=colour, alpha=0.75, linewidth=0)
        ax.axhline(base, color=GRID, linewidth=0.6, zorder=0)
        sigma = "" if ridge.sd is None else f"σ {ridge.sd:#.3g}"
        ax.text(0.99, base + 0.3, sigma, transform=ax.get_yaxis_transform(), ha="right", fontsize=8)
    ax.set_xlim(-reach, reach * 1.25)
    ax.set_yticks([0.15 - row for row in range(len(routers))], [label(router) for router in routers])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _density(histogram: Histogram) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the bins, and the share of the outputs in each over its width; 0 where outputs are all the same."""
    edges, counts = np.asarray(histogram.edges), np.asarray(histogram.counts, dtype=float)
    widths = np.diff(edges)
    density = np.zeros_like(counts)
    np.divide(counts / (counts.sum() or 1), widths, out=density, where=widths > _NARROWEST)
    return (edges[1:] + edges[:-1]) / 2, density


def _scale(ridges: Collection[Ridge]) -> float:
    """The density that is as high as a ridge can be."""
    peaks = [peak for ridge in ridges if (peak := float(_density(ridge.histogram)[1].max()))]
    return min(max(peaks), _TALLEST * median(peaks)) if peaks else 1.0


def _cut_off(by_kind: Mapping[str, dict[str, Ridge]]) -> str:
    """Who is cut off, for the caption."""
    names = dict.fromkeys(
        router
        for routers in by_kind.values()
        for router, ridge in routers.items()
        if float(_density(ridge.histogram)[1].max()) > _scale(routers.values()) * (1 + 1e-9)
    )
    return f" ({listing([label(name) for name in names])}: cut off at the top)" if names else ""


def _reach(histogram: Histogram) -> float:
    """The distance from zero within which 99.8 % of the outputs lie."""
    edges = np.asarray(histogram.edges)
    share = np.cumsum(histogram.counts) / (sum(histogram.counts) or 1)
    low = edges[int(np.searchsorted(share, 0.001))]
    high = edges[int(np.searchsorted(share, 0.999)) + 1]
    return float(max(abs(low), abs(high))) or 1.0
