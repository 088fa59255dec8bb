"""Our time over others', with intervals: a row a peer and number of tokens."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes

from reports.figures.ratio_axis import Point, draw_panels
from reports.figures.theme import QUIET
from reports.format import registry
from reports.format.plot import Plot
from reports.records.peers import PeerPair
from reports.records.report_data import ReportData
from reports.records.timing import Timing

_KINDS: dict[str, Callable[[PeerPair], bool]] = {
    "gates": lambda pair: pair.peer.intermediate_size is None,
    "layers": lambda pair: pair.peer.intermediate_size is not None,
}
"""What a figure shows -> whether a pair is of it."""


def _kinds(data: ReportData) -> list[str]:
    return [kind for kind, holds in _KINDS.items() if any(map(holds, data.peer_pairs))]


@registry.figure("peers", "Figure of {} beside others' code", place=1, keys=_kinds, timed=True)
def ratios(kind: str, data: ReportData) -> Plot:
    """A panel per mode, a marker per dtype."""
    pairs = [pair for pair in data.peer_pairs if _KINDS[kind](pair)]
    panels = {
        mode: [Point(_row(pair), str(pair.peer.dtype), _turned(pair)) for pair in pairs if pair.peer.mode == mode]
        for mode in dict.fromkeys(pair.peer.mode for pair in pairs)
    }
    rows = list(dict.fromkeys(map(_row, pairs)))
    dtypes = list(dict.fromkeys(str(pair.peer.dtype) for pair in pairs))
    return Plot(
        name=f"peers-{kind}",
        title=f"Our {kind}' time over others'",
        caption="A row a peer and number of tokens T; left of 1 ours is faster. Logarithmic axis; whiskers are 95 % "
        "intervals over processes, and very wide ones run off the panel. The grey band is the noise floor: ours "
        "against itself, over the groups of the panel.",
        draw=lambda: draw_panels(panels, rows, dtypes, width=3.3, draw_beside=_draw_equal),
    )


def _row(pair: PeerPair) -> str:
    peer = pair.peer.router.partition("@")[0]
    family = pair.family.removeprefix("gate_").replace("_", " ")
    return f"{family if family == peer.replace('_', ' ') else f'{family}, {peer}'}, T = {pair.peer.num_tokens:,}"


def _draw_equal(ax: Axes, _: str) -> list[float]:
    """A line where both take the same time."""
    ax.axvline(1.0, color=QUIET, linewidth=1)
    return []


def _turned(pair: PeerPair) -> Timing:
    """The peer's timing with our time over it in the place of its ratio to ours."""
    return pair.peer.timing.model_copy(update={"ratio": pair.ratio, "baseline": "the peer"})
