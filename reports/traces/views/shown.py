"""What the views share: the decorators by which they are known, and how a figure shows layers.

Axes: L layers, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.figures.style import label
from reports.format.registry import Registry
from reports.traces.trace import Array

table = Registry("reports.traces.views")
"""Decorator of a function Analysis -> Table."""
figure = Registry("reports.traces.views")
"""Decorator of a function Analysis -> Plot."""

WIDTH = 8.4
_MOST_TICKS = 24
TALLEST = 9.0


def by_layer(names: tuple[str, ...], axes: Axes, *, vertical: bool = False) -> None:
    """The layers' names along an axis, not all where there are many."""
    every = -(-len(names) // _MOST_TICKS)
    places = list(range(0, len(names), every))
    shown = [label(names[place]) for place in places]
    if vertical:
        axes.set_yticks(places, shown, fontsize=7)
        axes.set_ylabel("layer")
        return
    crowded = max(map(len, shown)) > 3
    axes.set_xticks(places, shown, fontsize=7, rotation=90 if crowded else 0)
    axes.set_xlabel("layer")


class Line(NamedTuple):
    """A line along the layers: its name, its colour, a value a layer (L,), and whether each has a mark."""

    name: str
    colour: str
    values: Array
    marked: bool = True


def lines_by_layer(lines: Sequence[Line], names: tuple[str, ...], what: str) -> tuple[Figure, Axes]:
    """Lines along the layers under one legend; `what` is written along the values."""
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axes = figure.subplots()
    for line in lines:
        mark = "o" if line.marked else ""
        axes.plot(line.values, linewidth=1, color=line.colour, label=line.name, marker=mark, markersize=3)
    axes.set_ylabel(what)
    by_layer(names, axes)
    figure.legend(loc="outside upper center", ncols=8)
    return figure, axes


def heat_map(values: Array, names: tuple[str, ...], across: str, legend: str) -> Figure:
    """A row a layer, a column an expert: values (L, E)."""
    height = min(TALLEST, 1.3 + 0.16 * len(names))
    figure = Figure(figsize=(WIDTH, max(1.9, height)), layout="constrained")
    axes = figure.subplots()
    values = np.asarray(values, dtype=float)
    # The square root, so that one busy expert does not make all others alike.
    norm = PowerNorm(0.5, vmin=0, vmax=max(1.0, float(np.nanmax(values))))
    image = axes.imshow(values, aspect="auto", interpolation="none", cmap="viridis", norm=norm)
    by_layer(names, axes, vertical=True)
    axes.set_xlabel(across)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    figure.colorbar(image, ax=axes, label=legend, shrink=0.9, aspect=30)
    return figure
