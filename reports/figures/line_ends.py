"""Lines named where they end: more of them can be told apart than colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

_FONT_SIZE = 8
_POINTS_AN_INCH = 72
# Of the font's size, from one baseline to the next.
_LEADING = 1.35


@dataclass(frozen=True)
class End:
    """The end of a line in the coordinates of its data, its name and its colour."""

    name: str
    x: float
    y: float
    colour: str


def name_ends(ax: Axes, ends: Sequence[End]) -> None:
    """Writes the names to the right of the axes, as near to their lines as there is room, each joined to its own.

    The axes' scales and limits have to stand.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    height = figure.get_figheight() * 0.85
    apart = _LEADING * _FONT_SIZE / _POINTS_AN_INCH / height
    ordered = sorted(ends, key=lambda end: end.y)
    to_axes = ax.transData + ax.transAxes.inverted()
    wanted = [float(to_axes.transform((end.x, end.y))[1]) for end in ordered]
    for end, place in zip(ordered, spread_out(wanted, apart), strict=True):
        ax.annotate(
            end.name,
            xy=(end.x, end.y),
            xytext=(1.03, place),
            textcoords="axes fraction",
            va="center",
            fontsize=_FONT_SIZE,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": end.colour, "linewidth": 0.8, "relpos": (0, 0.5), "shrinkB": 3},
        )


def spread_out(places: Sequence[float], apart: float) -> list[float]:
    """Places in rising order, moved as little as it takes to lie so far apart: neighbours that touch share a middle."""
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _last(groups[-2], apart) + apart > _first(groups[-1], apart):
            joined = groups.pop()
            groups[-1] += joined
    return [_first(group, apart) + apart * number for group in groups for number in range(len(group))]


def _first(group: Sequence[float], apart: float) -> float:
    return sum(group) / len(group) - apart * (len(group) - 1) / 2


def _last(group: Sequence[float], apart: float) -> float:
    return sum(group) / len(group) + apart * (len(group) - 1) / 2
