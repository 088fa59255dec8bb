"""Names beside points of a plot, where there is room for them."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from reports.figures.style import label

# Where a name may stand beside its point, in points, with its alignment; the first that is free is taken.
_PLACES = (
    ((5, 5), "left", "bottom"),
    ((5, -5), "left", "top"),
    ((-5, 5), "right", "bottom"),
    ((-5, -5), "right", "top"),
    ((8, 0), "left", "center"),
    ((-8, 0), "right", "center"),
    ((5, 14), "left", "bottom"),
    ((5, -14), "left", "top"),
)
_POINT = 4.0


def name_points(ax: Axes, points: Sequence[tuple[str, float, float]], *, needed: int) -> int:
    """Writes names beside points so that none covers another or a point; returns how many found no room.

    Args:
        ax: with its limits set.
        points: name, x and y in the data's units, the most important first.
        needed: so many of them are named even where they cover something.
    """
    canvas = FigureCanvasAgg(ax.get_figure(root=True))
    canvas.draw()  # type: ignore[no-untyped-call]
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    spots = [ax.transData.transform((x, y)) for _, x, y in points]
    taken = [Bbox.from_bounds(x - _POINT, y - _POINT, 2 * _POINT, 2 * _POINT) for x, y in spots]
    room, unnamed = ax.get_window_extent(renderer), 0
    for place, (name, x, y) in enumerate(points):
        for offset, horizontal, vertical in _PLACES:
            text = ax.annotate(
                label(name), (x, y), offset, textcoords="offset points", ha=horizontal, va=vertical, fontsize=8
            )
            box = text.get_window_extent(renderer)
            inside = room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()
        else:
            if place < needed:
                ax.annotate(label(name), (x, y), _PLACES[0][0], textcoords="offset points", va="center", fontsize=8)
            else:
                unnamed += 1
    return unnamed
