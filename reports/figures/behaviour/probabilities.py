"""Figures 4 and 6: where the probability goes along a sequence, and token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from reports.errors import MissingDataError
from reports.figures.style import colours, label, panels, title_of
from reports.figures.theme import PIXELS
from reports.format import registry
from reports.format.inputs import quoted
from reports.format.plot import Plot
from reports.records.measurements import Entry
from reports.records.report_data import ReportData
from reports.records.sample import Sample

_SHOWN_TOKENS = 32
# Pixels of a panel of stacked probabilities, more than its inches have dots.
_HEIGHTS = 320
# Inches of a panel of tokens, of which the bars of both scales take their part.
_TOKENS_WIDTH = 3.1
_SHARED, _SOFT = "viridis", "cividis"
# More experts than this make a legend of coloured boxes unreadable.
_LEGEND_UP_TO = 16
# A router that gives no expert as much is soft: on a scale that ends at 1 its panel would be of one colour.
_OWN_SCALE_BELOW = 0.4

Floats = np.ndarray[Any, np.dtype[Any]]


@registry.figure("figures", "Figure 4 on “{}”", place=4, keys=registry.inputs_sampled)
def along_sequence(input_name: str, data: ReportData) -> Plot:
    """Figure 4: stacked routing probabilities along one sequence, a panel per router."""
    samples = sampled(data, input_name)
    return Plot(
        name=f"figure-4-{input_name}",
        title=f"Figure 4, input {quoted(data, input_name)}: routing probability along a sequence",
        caption="One sequence of the first seed; each colour is an expert, its height at a token the probability "
        "that the router gives it. Level bands are a router that hardly looks at the token, spikes one that chooses.",
        draw=lambda: _draw_sequence(samples),
    )


@registry.figure("figures", "Figure 6 on “{}”", place=6, keys=registry.inputs_sampled)
def by_token(input_name: str, data: ReportData) -> Plot:
    """Figure 6: expert probabilities of individual tokens as a heat map, a panel per router."""
    samples = sampled(data, input_name)
    return Plot(
        name=f"figure-6-{input_name}",
        title=f"Figure 6, input {quoted(data, input_name)}: expert probability of individual tokens",
        caption=f"The first {_SHOWN_TOKENS} tokens of the same sequence, a row each; a column of one colour is an "
        "expert that gets the same whatever the token. Above each panel stand its smallest and its largest "
        "probability. There are two palettes, because one colour must not mean two things. Violet to yellow is the "
        "scale that panels share, which follows the square root. Blue to yellow is a scale of its own, from a panel's "
        "smallest to its largest: that of a soft router, none of whose probabilities reaches "
        f"{_OWN_SCALE_BELOW}, which would be of one colour on the shared scale and shows here what there is of a "
        "choice. Tokens that are blank or no word are quoted.",
        draw=lambda: _draw_tokens(samples),
    )


def sampled(data: ReportData, input_name: str) -> list[tuple[Entry, Sample]]:
    """Routers with a sample on this input."""
    samples = [(e, e.sample) for e in data.select("router", input_name) if e.sample and e.sample.sequence_probs]
    if not samples:
        raise MissingDataError(f"the files hold no sampled sequence on input “{input_name}”")
    return samples


def _draw_sequence(samples: list[tuple[Entry, Sample]]) -> Figure:
    figure, axes = panels(len(samples), width=3.4, height=1.75)
    num_experts = max(entry.sizes["num_experts"] for entry, _ in samples)
    palette = PIXELS if num_experts <= len(PIXELS) else colours(num_experts)
    for ax, (entry, sample) in zip(axes, samples, strict=True):
        probs = np.asarray(sample.sequence_probs)
        # Pixels: as paths, a thousand steps a panel made the page megabytes long, and took a second to draw.
        extent = (-0.5, len(probs) - 0.5, 0, 1)
        ax.imshow(_stacked(probs, palette), extent=extent, origin="lower", aspect="auto", interpolation="nearest")
        ax.set(title=title_of(entry.router, 3.4), ylim=(0, 1), xlim=(0, max(1, len(probs) - 1)))
        # Without the last tick, whose label would run into the next panel's zero.
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, prune="upper"))
    figure.supxlabel("token", fontsize=9)
    figure.supylabel("probability", fontsize=9)
    if num_experts <= _LEGEND_UP_TO:
        names = [f"expert {index}" for index in range(num_experts)]
        handles = [Patch(facecolor=colour) for colour in palette[:num_experts]]
        figure.legend(handles, names, loc="outside upper left", ncols=8, handlelength=1)
    return figure


def _stacked(probs: Floats, palette: Sequence[str]) -> Floats:
    """(T, E) as the pixels of stacked areas, (heights, T, 4): a column a token, a colour an expert."""
    heights = (np.arange(_HEIGHTS) + 0.5) / _HEIGHTS
    experts = np.stack([np.searchsorted(edges, heights) for edges in np.cumsum(probs, axis=1)], axis=1)
    # What rounding leaves above the last is the last's.
    pixels: Floats = to_rgba_array(palette)[np.minimum(experts, probs.shape[1] - 1)]
    return pixels


def _draw_tokens(samples: list[tuple[Entry, Sample]]) -> Figure:
    tallest = min(_SHOWN_TOKENS, max(len(sample.sequence_probs) for _, sample in samples))
    figure, axes = panels(len(samples), width=_TOKENS_WIDTH, height=0.4 + 0.13 * tallest)
    shared: AxesImage | None = None
    any_soft = False
    words = next((sample.sequence_tokens for _, sample in samples if sample.sequence_tokens), None)
    shown = (words or tuple(str(index) for index in range(tallest)))[:_SHOWN_TOKENS]
    # The panels share this axis, and one that shows no tokens need not be measured.
    axes[0].set_yticks(range(len(shown)), [_token(word) for word in shown], fontsize=7)
    for ax, (entry, sample) in zip(axes, samples, strict=True):
        probs = np.asarray(sample.sequence_probs[:_SHOWN_TOKENS])
        soft = float(probs.max()) < _OWN_SCALE_BELOW
        colour_map, norm = (_SOFT, Normalize(probs.min(), probs.max())) if soft else (_SHARED, PowerNorm(0.5, 0, 1))
        image = ax.imshow(probs, aspect="auto", interpolation="none", cmap=colour_map, norm=norm)
        shared, any_soft = shared if soft else image, any_soft or soft
        ax.set_xticks(np.arange(0, probs.shape[1], max(1, probs.shape[1] // 8)))
        spot = ax.get_subplotspec()
        if spot is None or spot.is_first_col():
            ax.tick_params(axis="y", length=0, labelsize=7)
        else:
            ax.yaxis.set_visible(False)
        own = ", own scale" if soft else ""
        ax.set_title(f"{title_of(entry.router, 2.6)}\n{probs.min():.3f} to {probs.max():.3f}{own}")
    figure.supxlabel("expert", fontsize=9)
    figure.supylabel("token", fontsize=9)
    if shared is not None:
        ticks = [0, 0.05, 0.125, 0.25, 0.5, 1]
        figure.colorbar(shared, ax=axes, label="probability", shrink=0.6, aspect=40, ticks=ticks)
    if any_soft:
        _draw_own_scale(figure, axes)
    return figure


def _draw_own_scale(figure: Figure, axes: list[Axes]) -> None:
    """The bar of the panels with a scale of their own, which differs in its numbers and not in its colours."""
    bar = figure.colorbar(ScalarMappable(cmap=_SOFT), ax=axes, shrink=0.6, aspect=40, ticks=[0, 1])
    bar.ax.set_yticklabels(["its smallest", "its largest"], rotation=90, va="center")
    bar.set_label("probability, a panel's own scale")


def _token(word: str) -> str:
    """A token as the label of a row: quoted where it is blank or no word, or begins or ends with a blank."""
    if word == word.strip() and any(map(str.isalnum, word)):
        return label(word)
    return f"“{label(''.join(each if each.isprintable() else repr(each)[1:-1] for each in word))}”"
