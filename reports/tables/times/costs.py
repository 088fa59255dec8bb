"""What routers cost: the summary, and time beside the machine's peak."""

from __future__ import annotations

from reports.errors import MissingDataError
from reports.format import registry
from reports.format.fields import interval_fields
from reports.format.inputs import input_column, quoted
from reports.format.numbers import count, fixed, listing, mebibytes, percent, sentence, significant
from reports.format.table import EXPERTS, Column, Table, interval_column, text_column, verdict_column
from reports.judging.standing import judge
from reports.records.measurements import Entry
from reports.records.report_data import ReportData
from reports.tables.precision.headline import flips_column, headline_fields, headline_input
from reports.tables.ranking import ALL_OTHERS, among, apart, by_time, equals, why_unranked

PEAK_MEMORY = "Peak memory: what one call allocates at its worst moment, beyond what was there before."
_NOTES = (
    PEAK_MEMORY,
    "Throughput counts matrix products only; its peak is the most that the run reached on this machine with these "
    "threads, by large matrix products or by a router.",
    "Standing is to the baseline; the page's end defines it.",
)
_FLOOR = (
    "The floor of a router is its bare matrix products and one read of its input, measured beside it: by how much a "
    "call takes longer is what activations, selection, allocations and Python cost. The products are those of torch's "
    "library: a router below its floor has a faster one of its own."
)


@registry.table("summary", "Summary", place=1, timed=True)
def summary(data: ReportData) -> Table:
    """The router alone on random input: cost and behaviour in one row per router."""
    entries = data.select("router", "random")
    baseline, flips = entries[0].timing.baseline, headline_input(data)
    said = f" Flips: share of assignments that bfloat16 changes on {quoted(data, flips)}, over seeds." if flips else ""
    rows = [
        _cost_row(entry)
        | {name: entry.behaviour.metric(name).mean for name in ("token_entropy", "mean_top_k_prob", "cv")}
        | headline_fields(data, entry.router)
        for entry in entries
    ]
    return Table(
        name="summary",
        title="The router alone on random input",
        caption=f"{_sizes(entries[0])} Time of a call; ratio to {baseline} with its 95 % interval over processes. Mean "
        f"top-k: of a router's own K, the column Experts.{said}",
        rows=rows,
        columns=(
            text_column("Router", "router"),
            Column("Parameters", ("parameters",), count),
            Column("FLOPs", ("flops",), count),
            EXPERTS,
            Column("µs/call", ("us_per_call",), significant),
            Column("ns/token", ("ns_per_token",), significant),
            interval_column(f"Ratio to {baseline}", "ratio", significant),
            Column("Entropy (nats)", ("token_entropy",), fixed(4)),
            Column("Mean top-k", ("mean_top_k_prob",), fixed(4)),
            Column("CV", ("cv",), fixed(3)),
            flips_column(f"Flips in bfloat16, “{flips}”" if flips else "Flips in bfloat16"),
        ),
        findings=(_fastest(data, entries),),
    )


@registry.table("costs", "Cost: {}", place=1, keys=lambda data: data.scenarios("router"), timed=True)
def costs(scenario: str, data: ReportData) -> Table:
    """One scenario on the timed inputs, with achieved throughput beside the machine's peak."""
    timed = [name for name, record in data.inputs.items() if record.timed]
    entries = [entry for name in timed for entry in data.find(scenario, name).values()]
    if not entries:
        inputs = " or ".join(f"“{name}”" for name in timed) or "that is timed"
        raise MissingDataError(f"the files hold no measurement of scenario “{scenario}” on input {inputs}")
    absent = [name for name in timed if not data.find(scenario, name)]
    described, with_floor = data.scenarios("router")[scenario], any(entry.timing.floor for entry in entries)
    # Of one token a call and a token are the same time.
    several = any(entry.timing.tokens_per_call != 1 for entry in entries)
    return Table(
        name=f"costs-{scenario}",
        title=f"Cost: {described.label.lower()}",
        caption=f"{sentence(described.description)} Time of a call, and its ratio to that of "
        f"{entries[0].timing.baseline} on the same input, with its 95 % interval over processes.",
        notes=(*_NOTES, *((_FLOOR,) if with_floor else ())),
        rows=_with_standings(entries),
        columns=(
            input_column(data),
            text_column("Router", "router"),
            EXPERTS,
            Column("µs/call", ("us_per_call",), significant),
            *((Column("ns/token", ("ns_per_token",), significant),) if several else ()),
            interval_column(f"Ratio to {entries[0].timing.baseline}", "ratio", significant),
            verdict_column("Standing", "standing"),
            *((interval_column("Over its floor", "over_floor", significant),) if with_floor else ()),
            Column("Peak memory (MiB)", ("peak_memory",), mebibytes),
            Column("GFLOP/s", ("gflops",), significant),
            Column("Share of peak", ("share_of_peak",), percent),
        ),
        left_out=tuple((f"Cost: {scenario} on “{name}”", "the files hold no such measurement") for name in absent),
    )


def _with_standings(entries: list[Entry]) -> list[dict[str, object]]:
    """The rows, each with how its router stands to the baseline; that itself stands to nobody."""
    others = [entry for entry in entries if entry.router != entry.timing.baseline]
    standings = dict(zip(map(id, others), judge([entry.timing.shift for entry in others]), strict=True))
    return [_cost_row(entry) | {"standing": standings.get(id(entry))} for entry in entries]


def _cost_row(entry: Entry) -> dict[str, object]:
    timing = entry.timing
    return {
        "input": entry.input,
        "router": entry.router,
        "parameters": entry.parameters,
        "experts_per_token": entry.experts_per_token,
        "flops": entry.flops,
        "peak_memory": entry.peak_memory,
        "us_per_call": timing.us_per_call,
        "ns_per_token": timing.ns_per_token,
        **interval_fields("ratio", timing.ratio),
        **interval_fields("noise_floor", timing.noise_floor),
        **(interval_fields("over_floor", timing.floor.ratio) if timing.floor else {}),
        "gflops": timing.gflops,
        "peak_gflops": timing.peak_gflops,
        "share_of_peak": timing.gflops / timing.peak_gflops if timing.gflops and timing.peak_gflops else None,
    }


def _sizes(entry: Entry) -> str:
    size = entry.sizes
    return (
        f"{size['num_tokens']:,} tokens ({size['batch_size']} × {size['sequence_length']}), hidden size "
        f"{size['hidden_size']}, {size['num_experts']} experts, top {size['top_k']}."
    )


def _fastest(data: ReportData, entries: list[Entry]) -> str:
    """Names the fastest among equals, those whose interval does not separate them from it, and who stands apart."""
    same, others = equals(entries)
    reason = why_unranked(data, entries, data.routers)
    if reason or not same:
        return f"Nobody is named the fastest on random input: {reason or ALL_OTHERS}."
    ranking = by_time(same)
    first = ranking.first
    tie = f", level with {listing([entry.router for entry in ranking.level])}" if ranking.level else ""
    beside = f"; {apart(others, _named)}" if others else ""
    return (
        f"Fastest on random input {among(first)}: {_named(first)}, {significant(first.timing.us_per_call)} µs per "
        f"call{tie}{beside}."
    )


def _named(entry: Entry) -> str:
    timing = entry.timing
    if entry.router == timing.baseline:
        return entry.router
    return f"{entry.router}, {significant(timing.ratio.estimate)} times {timing.baseline}"
