"""The paper's latencies and ours, both as ratios to Linear: two machines share an order at most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

from reports.format import registry
from reports.format.fields import interval_fields
from reports.format.numbers import fixed, interval, significant, some_of
from reports.format.table import EXPERTS, Column, Table, interval_column, text_column, verdict_column
from reports.judging import paper
from reports.judging.standing import STANDING_RULE, UNSEPARATED, Standing, judge
from reports.records.measurements import Entry
from reports.records.report_data import ReportData

_LATENCY = paper.RANDOM_INPUT.values["latency_ms"]


@registry.table("latency", "Latency", place=1, timed=True)
def latency(data: ReportData) -> Table:
    """Ratios to Linear with intervals and the noise floor, and whether each router keeps its place in the order."""
    entries = {entry.router: entry for entry in data.select("router", "random")}
    one_token = data.find("token", "random")
    shared = {router: entry for router, entry in entries.items() if router in _LATENCY}
    orders = orders_of(shared)
    rows = [_row(entry, one_token.get(router), orders) for router, entry in entries.items()]
    baseline = next(iter(entries.values())).timing.baseline
    return Table(
        name="latency",
        title="Latency as ratios to Linear",
        caption=f"Paper: {paper.RANDOM_INPUT.locator}, milliseconds on {paper.HARDWARE}, divided by Linear's 0.07 "
        "(printed with one significant digit, so that the paper's own ratios are uncertain by 7 %). Ours: other "
        "hardware and other code, so that no absolute latency is compared; the last column says whether a router "
        "stands on the same side of each other router as in the paper. “Undecided” means that two are level. "
        f"{_noise_floors(entries.values())} {STANDING_RULE}",
        rows=rows,
        columns=(
            text_column("Router", "router"),
            EXPERTS,
            Column("Paper (ms)", ("paper_ms",)),
            Column("Paper, ratio", ("paper_ratio",), significant),
            interval_column(f"Ours, router alone, to {baseline}", "ratio", significant),
            interval_column("Ours, one token with experts", "token_ratio", significant),
            verdict_column("Order", "order"),
        ),
        findings=_agreement(orders),
    )


def _noise_floors(entries: Iterable[Entry]) -> str:
    """What the baseline differs from itself by, once; of several files, of each."""
    floors = dict.fromkeys((entry.timing.baseline, entry.timing.noise_floor) for entry in entries)
    said = [f"{baseline} {interval(fixed(3))(floor.estimate, floor.low, floor.high)}" for baseline, floor in floors]
    return f"Noise floor, the ratio of the baseline to itself: {'; '.join(said)}."


def _row(entry: Entry, one_token: Entry | None, orders: Orders) -> dict[str, object]:
    printed = _LATENCY.get(entry.router)
    return {
        "router": entry.router,
        "experts_per_token": entry.experts_per_token,
        "paper_ms": printed.text if printed else None,
        "paper_ratio": printed.value / _LATENCY["linear"].value if printed else None,
        **interval_fields("ratio", entry.timing.ratio),
        **interval_fields("token_ratio", one_token.timing.ratio if one_token else None),
        **interval_fields("noise_floor", entry.timing.noise_floor),
        "order": _place(entry.router, orders) if printed else None,
    }


Orders = Mapping[frozenset[str], bool | None]
"""Two routers -> whether they stand as in the paper; None where that is open."""


def orders_of(shared: Mapping[str, Entry]) -> Orders:
    """All pairs of routers, judged together."""
    pairs = list(combinations(shared.values(), 2))
    orders: dict[frozenset[str], bool | None] = {}
    for (first, second), standing in zip(pairs, judge([a.shift_to(b) for a, b in pairs]), strict=True):
        ours = None if standing in UNSEPARATED else standing is Standing.FASTER
        paper_says = _LATENCY[first.router].value < _LATENCY[second.router].value
        orders[frozenset((first.router, second.router))] = None if ours is None else ours == paper_says
    return orders


def _place(router: str, orders: Orders) -> str:
    found = {other: order for pair, order in orders.items() if router in pair for other in pair - {router}}
    if not found:
        return "no other router to compare with"
    against = [other for other, order in found.items() if order is False]
    undecided = [other for other, order in found.items() if order is None]
    parts = [f"differs against {some_of(against, found, 'others')}"] if against else []
    parts += [f"undecided against {some_of(undecided, found, 'others')}"] if undecided else []
    return "; ".join(parts) or "agrees"


def _agreement(orders: Orders) -> tuple[str, ...]:
    if not orders:
        return ()
    found = list(orders.values())
    undecided = found.count(None)
    return (
        f"Latency: {found.count(True)} of {len(found)} pairs of routers stand in the paper's order"
        + (f", {undecided} are undecided" if undecided else "")
        + ". Absolute latencies are not compared: other hardware.",
    )
