"""The paper's latencies and ours, both as ratios to Linear: two machines share an order at most."""

from __future__ import annotations

from collections.abc import Mapping

from reports.format import registry
from reports.format.fields import interval_fields
from reports.format.numbers import fixed, listing, significant
from reports.format.table import EXPERTS, Column, Table, interval_column, text_column, verdict_column
from reports.judging import paper
from reports.records.measurements import Entry
from reports.records.report_data import ReportData

_LATENCY = paper.RANDOM_INPUT.values["latency_ms"]


@registry.table("latency", "Latency", place=1, timed=True)
def latency(data: ReportData) -> Table:
    """Ratios to Linear with intervals and the noise floor, and whether each router keeps its place in the order."""
    entries = {entry.router: entry for entry in data.select("router", "random")}
    one_token = data.find("token", "random")
    shared = {router: entry for router, entry in entries.items() if router in _LATENCY}
    rows = [_row(entry, one_token.get(router), shared) for router, entry in entries.items()]
    baseline = next(iter(entries.values())).timing.baseline
    return Table(
        name="latency",
        title="Latency as ratios to Linear",
        caption=f"Paper: {paper.RANDOM_INPUT.locator}, milliseconds on {paper.HARDWARE}, divided by Linear's 0.07 "
        "(printed with one significant digit, so that the paper's own ratios are uncertain by 7 %). Ours: other "
        "hardware and other code, so that no absolute latency is compared; the last column says whether a router "
        "stands on the same side of each other router as in the paper. “Undecided” means that the two intervals "
        "overlap.",
        rows=rows,
        columns=(
            text_column("Router", "router"),
            EXPERTS,
            Column("Paper (ms)", ("paper_ms",)),
            Column("Paper, ratio", ("paper_ratio",), significant),
            interval_column(f"Ours, router alone, to {baseline}", "ratio", significant),
            interval_column("Ours, one token with experts", "token_ratio", significant),
            interval_column("Noise floor", "noise_floor", fixed(3)),
            verdict_column("Order", "order"),
        ),
        findings=_agreement(shared),
    )


def _row(entry: Entry, one_token: Entry | None, shared: Mapping[str, Entry]) -> dict[str, object]:
    printed = _LATENCY.get(entry.router)
    return {
        "router": entry.router,
        "experts_per_token": entry.experts_per_token,
        "paper_ms": printed.text if printed else None,
        "paper_ratio": printed.value / _LATENCY["linear"].value if printed else None,
        **interval_fields("ratio", entry.timing.ratio),
        **interval_fields("token_ratio", one_token.timing.ratio if one_token else None),
        **interval_fields("noise_floor", entry.timing.noise_floor),
        "order": _place(entry, shared) if printed else None,
    }


def _same_order(first: Entry, second: Entry) -> bool | None:
    """Whether two routers stand as in the paper; None where the intervals leave it open."""
    if first.timing.ratio.overlaps(second.timing.ratio):
        return None
    ours = first.timing.ratio.estimate < second.timing.ratio.estimate
    return ours == (_LATENCY[first.router].value < _LATENCY[second.router].value)


def _place(entry: Entry, shared: Mapping[str, Entry]) -> str:
    others = [other for other in shared.values() if other is not entry]
    if not others:
        return "no other router to compare with"
    against = [other.router for other in others if _same_order(entry, other) is False]
    undecided = [other.router for other in others if _same_order(entry, other) is None]
    parts = [f"differs against {listing(against)}"] if against else []
    parts += [f"undecided against {listing(undecided)}"] if undecided else []
    return "; ".join(parts) or "agrees"


def _agreement(shared: Mapping[str, Entry]) -> tuple[str, ...]:
    entries = list(shared.values())
    pairs = [(a, b) for index, a in enumerate(entries) for b in entries[index + 1 :]]
    if not pairs:
        return ()
    agreeing = sum(_same_order(a, b) is True for a, b in pairs)
    undecided = sum(_same_order(a, b) is None for a, b in pairs)
    return (
        f"Latency: {agreeing} of {len(pairs)} pairs of routers stand in the paper's order"
        + (f", {undecided} are undecided" if undecided else "")
        + ". Absolute latencies are not compared: other hardware.",
    )
