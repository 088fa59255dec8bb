"""One look for all figures: palette, grid of panels, and output that is the same on every run."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import colormaps, rc_context  # the backend is chosen before anything draws
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from reports.figures.theme import GRID, INK, OKABE_ITO, PAPER
from reports.format.escape import shorten

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a font that a machine has not is replaced

_LEGEND_ENTRY = 1.7
"""Inches that a name in a legend takes, with its sign."""
_CHARACTERS_AN_INCH = 12.5

_COMPRESSION = 3
"""Of a PNG: a tenth longer than at 6, in two thirds of the time."""

LONGEST_LABEL = 40
"""Characters of a name in a figure; tables show all."""

# Up to so large a span -> multiples of ten's powers that are labelled; without any, evenly spaced numbers do.
_LOG_STEPS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (4, ()),
    (12, (1, 1.5, 2, 3, 5, 7)),
    (100, (1, 2, 5)),
    (math.inf, (1,)),
)

# matplotlib types the names of all its settings as one literal; a dict of Any is what it accepts besides.
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titley": 1.0,  # no panel has ticks on top, for which each title would be moved, after much measuring
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.facecolor": PAPER,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "figure.dpi": 100,
    "figure.facecolor": PAPER,
    "grid.color": GRID,
    "legend.frameon": False,
    "savefig.dpi": 160,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",  # text stays text: small, searchable, readable aloud
    "svg.hashsalt": "moe-router-bench",  # ids that do not change from run to run
    "text.color": INK,
    "text.parse_math": False,  # a token may be a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextmanager
def report_style() -> Iterator[None]:
    """Everything that is drawn or saved inside looks like this report."""
    with rc_context(_STYLE), warnings.catch_warnings():
        # Words of any script may be labels; a box in the PNG is no reason to stop, and the SVG keeps the text. Names
        # may leave no room for an axis, and numbers none between two ticks. None of that is for the reader to mend.
        for category in (UserWarning, RuntimeWarning):
            warnings.simplefilter("ignore", category)
        yield


def colours(number: int) -> list[str]:
    """So many distinguishable colours: named ones while they last, then steps along a perceptual map."""
    if number <= len(OKABE_ITO):
        return list(OKABE_ITO[:number])
    ramp = colormaps["viridis"].resampled(number)
    return [mpl.colors.to_hex(ramp(index)) for index in range(number)]


def panels(number: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A near-square grid of panels with shared axes; places left over stay empty."""
    across = min(number, 3 if number <= 9 else 4)
    down = math.ceil(number / across)
    figure = Figure(figsize=(width * across, height * down + 0.6), layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for spare in axes[number:]:
        spare.set_visible(False)
    for column_end in axes[max(0, number - across) : number]:
        column_end.tick_params(labelbottom=True)
    return figure, axes[:number]


def row_panels(number: int, names: Sequence[str], *, width: float, row: float) -> tuple[Figure, list[Axes]]:
    """Panels with a row per name, the first on top; up to four stand side by side, sizes in inches."""
    across = min(number, 4)
    down = math.ceil(number / across)
    # As wide as the longest name, in inches.
    names_take = max(1.4, 0.4 + 0.068 * max((len(label(name)) for name in names), default=0))
    size = (width * across + names_take, (row * len(names) + 0.8) * down + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(down, across, sharey=True, squeeze=False).flat)
    for spare in axes[number:]:
        spare.set_visible(False)
    name_rows(axes[0], names)
    return figure, axes[:number]


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """A row per name, the first on top."""
    ax.set_yticks(range(len(names)), [label(name) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Plain numbers along a logarithmic axis from low to high; within a factor of four it looks and reads linear."""
    steps = next(steps for limit, steps in _LOG_STEPS if high <= limit * low)
    axis.set_major_locator(LogLocator(subs=steps) if steps else MaxNLocator(5, steps=(1, 2, 5, 10)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def whiskers(values: Sequence[tuple[float, float | None, float | None]]) -> list[list[float]]:
    """matplotlib's errors of (estimate, low, high): below and above, zero where a bound does not exist."""
    return [
        [0.0 if low is None else max(0.0, estimate - low) for estimate, low, _ in values],
        [0.0 if high is None else max(0.0, high - estimate) for estimate, _, high in values],
    ]


def shared_legend(
    figure: Figure,
    axes: Sequence[Axes],
    *,
    columns: int,
    loc: Literal["outside lower left", "outside upper left"] = "outside lower left",
) -> None:
    """One legend for all these axes, which names what several of them show once.

    It begins at the left, where a reader begins who sees a part of the figure, as on a phone.
    """
    columns = max(1, min(columns, int(figure.get_figwidth() / _LEGEND_ENTRY)))
    entries = {name: handle for ax in axes for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(entries.values()), list(entries), loc=loc, ncols=columns)


def label(name: str) -> str:
    """A name without control characters, which no font draws and XML forbids, short enough to leave room for axes."""
    return "".join(character if character.isprintable() else "�" for character in shorten(name, LONGEST_LABEL))


def _lay_out(figure: Figure) -> None:
    """Places everything once: each file would else do it twice, which takes longer than all drawing."""
    engine = figure.get_layout_engine()
    if engine is not None:
        for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
            if not axis.get_label_text():
                # A label that is empty has its place too, unless it is told, and all ticks are measured for it.
                axis.set_label_coords(0, 0)
        engine.execute(figure)
        figure.set_layout_engine("none")


def title_of(name: str, width: float) -> str:
    """A name as the title of a panel of so many inches: shorter than the panel, beside which others have theirs."""
    return shorten(label(name), int(_CHARACTERS_AN_INCH * width))


def save(figure: Figure, kind: str) -> bytes:
    """The figure's bytes as `svg` or `png`, without date or version in them."""
    _lay_out(figure)
    figure.set_dpi(mpl.rcParams["savefig.dpi"])
    buffer = io.BytesIO()
    # Not by `savefig`, which would draw all of it once more, to lay out what has its place.
    _WRITERS[kind](figure, buffer)
    return buffer.getvalue()


def _write_svg(figure: Figure, buffer: io.BytesIO) -> None:
    FigureCanvasSVG(figure).print_svg(  # type: ignore[no-untyped-call]
        buffer, metadata={"Date": None, "Creator": None}
    )


def _write_png(figure: Figure, buffer: io.BytesIO) -> None:
    FigureCanvasAgg(figure).print_png(  # type: ignore[no-untyped-call]
        buffer, metadata={"Software": None}, pil_kwargs={"compress_level": _COMPRESSION}
    )


_WRITERS = {"svg": _write_svg, "png": _write_png}
