"""Which experts are chosen together, beside what chance would give. Axes: E experts."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reports.errors import MissingDataError
from reports.figures.behaviour.leading import leading_inputs
from reports.figures.input_sizes import size_sentence
from reports.figures.style import panels, title_of
from reports.figures.theme import BAND
from reports.format import registry
from reports.format.inputs import quoted
from reports.format.numbers import listing
from reports.format.plot import Plot
from reports.judging.pairs import LEAST_EXPECTED, Counts, ratio_to_chance
from reports.records.report_data import ReportData

# The scale ends at a factor of four either way: log2.
_REACH = 2.0
_WIDTH = 2.5


@registry.figure("balance", "Figure of experts chosen together on “{}”", place=2, keys=leading_inputs)
def co_activation(input_name: str, data: ReportData) -> Plot:
    """A heat map per router of the pairs' counts over those that their loads alone explain."""
    entries = data.select("router", input_name)
    counted = {entry.router: np.asarray(e.pairs, dtype=float) for entry in entries if (e := entry.sample) and e.pairs}
    if not counted:
        raise MissingDataError(
            f"the files hold no counts of pairs of experts on input “{input_name}”: an older version wrote them, or "
            "there are too many experts"
        )
    pairs = {router: counts for router, counts in counted.items() if _has_choice(counts)}
    if not pairs:
        raise MissingDataError("no router selects several experts of more: there are no pairs to choose")
    return Plot(
        name=f"co-activation-{input_name}",
        title=f"Experts chosen together on input {quoted(data, input_name)}",
        caption="How often two experts have a token together, over how often they would if a token's experts were "
        "drawn independently with the loads that they have (quasi-independence: no expert pairs with itself). Red "
        "pairs belong together, and placing them on one device saves traffic; blue ones avoid each other; white is "
        "chance. Both axes: experts of the first seed, the most loaded first. Grey: an expert with itself, and pairs "
        f"of which chance would give fewer than {LEAST_EXPECTED:g}. The title has the pair that is most above chance."
        f"{_left_out([router for router in counted if router not in pairs])}{size_sentence(data, input_name)}",
        draw=lambda: _draw(pairs),
    )


def _left_out(routers: list[str]) -> str:
    return f" Left out, because they select one expert or all: {listing(routers)}." if routers else ""


def _has_choice(counts: Counts) -> bool:
    """Whether tokens have several experts, and not simply all."""
    off_diagonal = counts.sum() - np.trace(counts)
    return bool(off_diagonal) and bool((counts != counts.flat[0]).any())


def _draw(pairs: dict[str, Counts]) -> Figure:
    figure, axes = panels(len(pairs), width=_WIDTH, height=2.5)
    image: AxesImage | None = None
    for ax, (router, counts) in zip(axes, pairs.items(), strict=True):
        order = np.argsort(-np.diagonal(counts), kind="stable")
        ratios = ratio_to_chance(counts[np.ix_(order, order)])
        with np.errstate(divide="ignore"):
            shown = np.clip(np.log2(ratios), -_REACH, _REACH)
        ax.set_facecolor(BAND)
        image = ax.imshow(np.ma.masked_invalid(shown), cmap="RdBu_r", vmin=-_REACH, vmax=_REACH, interpolation="none")
        ax.set_title(f"{title_of(router, _WIDTH)}\n{_strongest(ratios)}")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(6, integer=True))
            axis.set_major_formatter(FuncFormatter(lambda place, _: f"{place + 1:.0f}"))
    figure.supxlabel("expert, by load", fontsize=9)
    figure.supylabel("expert, by load", fontsize=9)
    if image is not None:
        bar = figure.colorbar(image, ax=axes, label="times chance", shrink=0.6, aspect=40, ticks=[-2, -1, 0, 1, 2])
        bar.ax.set_yticklabels(["¼", "½", "1", "2", "4"])
    return figure


def _strongest(ratios: Counts) -> str:
    if np.isnan(ratios).all():
        return "too few tokens"
    first, second = divmod(int(np.nanargmax(ratios)), len(ratios))
    return f"{first + 1} and {second + 1}: × {ratios[first, second]:.2f}"
