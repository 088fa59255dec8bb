"""Ours beside others' code: what the run says in all, each work with its peers, and who was not measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

from reports.errors import MissingDataError
from reports.format import registry
from reports.format.fields import interval_fields
from reports.format.numbers import count, duration, listing, mebibytes, percent, ratio, significant
from reports.format.table import Column, Table, interval_column, text_column, verdict_column
from reports.judging.standing import STANDING_RULE, UNSEPARATED, Standing, judge
from reports.records.peers import PeerPair, fastest_peers
from reports.records.report_data import ReportData

# What all of the works' tables share stands once, under the first of them.
_EXPLAINED = (
    "Ratio: our time over the peer's in the same rounds, with its 95 % interval over processes; below 1 ours is "
    "faster. Peak memory: what one call allocates at its worst moment, in training with the gradients. Off the "
    "reference: the peer's largest difference from a float64 reference, as a share of the largest value, before it is "
    "timed. Same tokens: the share with our output; what the others select is decided by rounding."
)


def families(data: ReportData) -> list[str]:
    """Works that share their weights, in the order in which they were measured."""
    return list(dict.fromkeys(pair.family for pair in data.peer_pairs))


@registry.table("peers", "Beside the fastest peer", place=1, timed=True)
def summary(data: ReportData) -> Table:
    """A row a work: ours over the fastest peer of each of its sizes."""
    best = fastest_peers(data.peer_pairs)
    if not best:
        raise MissingDataError("the files hold no peer that was timed")
    standings = judge([pair.shift for pair in best])
    works = list(dict.fromkeys(pair.peer.work for pair in best))
    return Table(
        name="peers",
        title="Beside the fastest peer",
        caption=f"{_packages(data)} A row a work, over its numbers of tokens and dtypes; of each, the peer that took "
        "the least time. Mean ratio: geometric. Ours is: in how many of them faster, slower, or neither. "
        f"{STANDING_RULE} In the tables of the works: {_EXPLAINED}",
        rows=[_summary_row(data, work, best, standings) for work in works],
        columns=(
            text_column("Work", "work"),
            Column("Sizes", ("sizes",), count),
            Column("Mean ratio", ("mean",), ratio),
            Column("Least", ("least",), ratio),
            Column("Largest", ("largest",), ratio),
            text_column("Largest at", "largest_at"),
            verdict_column("Ours is", "standing"),
            Column("Memory over the peer's", ("memory_ratio",), ratio),
        ),
        findings=_findings(data, best, standings),
    )


@registry.table("peers", "Beside others' code: {}", place=2, keys=families, timed=True)
def of_family(family: str, data: ReportData) -> Table:
    """A row a peer, at each number of tokens, dtype and mode."""
    pairs = [pair for pair in data.peer_pairs if pair.family == family]
    standings = judge([pair.shift for pair in pairs])
    first = pairs[0].peer
    sizes = {"D": first.hidden_size, "I": first.intermediate_size, "E": first.num_experts, "K": first.top_k}
    alike = len({(pair.peer.hidden_size, pair.peer.intermediate_size, pair.peer.num_experts) for pair in pairs}) == 1
    shown = f" {', '.join(f'{letter} = {size:,}' for letter, size in sizes.items() if size)}." if alike else ""
    return Table(
        name=f"peers-{family}",
        title=f"Beside others' code: {_label(data, family)}",
        caption=f"The same weights and the same tokens.{shown} The columns are explained under the first table.",
        rows=[_row(pair, standing) for pair, standing in zip(pairs, standings, strict=True)],
        columns=(
            text_column("Peer", "router"),
            text_column("Mode", "mode"),
            Column("Tokens", ("num_tokens",), count),
            text_column("Dtype", "dtype"),
            Column("Ours", ("ours_us",), duration),
            Column("Peer's", ("us_per_call",), duration),
            interval_column("Ratio", "ratio", ratio),
            verdict_column("Ours is", "standing"),
            Column("Our memory (MiB)", ("our_memory",), mebibytes),
            Column("Peer's (MiB)", ("peak_memory",), mebibytes),
            Column("Off the reference", ("error_to_reference",), significant),
            Column("Same tokens", ("agreement",), percent),
        ),
    )


@registry.table("peers", "Peers that were not measured", place=3)
def left_out(data: ReportData) -> Table:
    """A row a peer and reason."""
    works: dict[tuple[str, str], list[str]] = {}
    for each in data.peer_records.left_out:
        works.setdefault((each.peer, each.reason), []).append(each.input)
    if not works:
        raise MissingDataError("every peer was measured")
    return Table(
        name="peers-left-out",
        title="Peers that were not measured",
        caption="Named with the reason: a peer that is not here, cannot do the work, or is wrong. Places: at how many "
        "works and sizes.",
        rows=[
            {"router": peer, "reason": reason, "places": len(inputs), "first": inputs[0]}
            for (peer, reason), inputs in works.items()
        ],
        columns=(
            text_column("Peer", "router"),
            text_column("Reason", "reason"),
            Column("Places", ("places",), count),
            text_column("First", "first"),
        ),
    )


def _label(data: ReportData, family: str) -> str:
    """What its first work is called, which is that of the forward pass where that was measured."""
    works = data.peer_records.works.values()
    return next((work.label.partition(",")[0] for work in works if work.family == family), family)


def _row(pair: PeerPair, standing: Standing) -> dict[str, object]:
    peer = pair.peer
    return {
        "router": peer.router,
        "work": peer.work,
        "mode": peer.mode,
        "num_tokens": peer.num_tokens,
        "dtype": peer.dtype,
        "hidden_size": peer.hidden_size,
        "intermediate_size": peer.intermediate_size,
        "num_experts": peer.num_experts,
        "top_k": peer.top_k,
        "ours_us": pair.ours_us,
        "us_per_call": peer.timing.us_per_call,
        **interval_fields("ratio", pair.ratio),
        **interval_fields("noise_floor", peer.timing.noise_floor),
        "resolution": peer.timing.resolution,
        "standing": standing,
        "our_memory": pair.ours.peak_memory if pair.ours else None,
        "peak_memory": peer.peak_memory,
        "memory_ratio": pair.memory_ratio,
        "error_to_reference": peer.error_to_reference,
        "our_error_to_reference": pair.ours.error_to_reference if pair.ours else None,
        "agreement": peer.agreement,
    }


def _summary_row(
    data: ReportData, work: str, best: Sequence[PeerPair], standings: Sequence[Standing]
) -> dict[str, object]:
    pairs = [pair for pair in best if pair.peer.work == work]
    largest = max(pairs, key=lambda pair: pair.ratio.estimate)
    memory = [pair.memory_ratio for pair in pairs if pair.memory_ratio]
    record = data.peer_records.works.get(work)
    return {
        "work": record.label if record else work,
        "sizes": len(pairs),
        "mean": _geometric_mean([pair.ratio.estimate for pair in pairs]),
        "least": min(pair.ratio.estimate for pair in pairs),
        "largest": largest.ratio.estimate,
        "largest_at": f"{_where(largest)}: {largest.peer.router}",
        "standing": _counted([each for pair, each in zip(best, standings, strict=True) if pair.peer.work == work]),
        "memory_ratio": _geometric_mean(memory) if memory else None,
    }


def _geometric_mean(values: Sequence[float]) -> float:
    return float(prod(value ** (1 / len(values)) for value in values))


def _where(pair: PeerPair) -> str:
    peer = pair.peer
    return f"{peer.num_tokens:,} {'token' if peer.num_tokens == 1 else 'tokens'}, {peer.dtype}"


def _counted(standings: Sequence[Standing]) -> str:
    found = Counter("undecided" if each in UNSEPARATED else str(each) for each in standings)
    return ", ".join(f"{word} in {number}" for word in ("faster", "slower", "undecided") if (number := found[word]))


def _packages(data: ReportData) -> str:
    packages = data.peer_records.packages
    named = [f"{name} {version}" for name, version in packages.items() if version]
    return f"Peers of {listing(named)}." if named else "Peers of packages whose versions the files do not name."


def in_short(data: ReportData) -> str:
    """How ours stands to the fastest peers in all, for the first screen."""
    best = fastest_peers(data.peer_pairs)
    mean = _geometric_mean([pair.ratio.estimate for pair in best])
    counted = _counted(judge([pair.shift for pair in best]))
    return f"{ratio(mean)} times the fastest peer's time, geometric mean of {len(best)} works and sizes: {counted}."


def _findings(data: ReportData, best: Sequence[PeerPair], standings: Sequence[Standing]) -> tuple[str, ...]:
    """How ours stands in all, where it is slowest, and who was left out."""
    mean = _geometric_mean([pair.ratio.estimate for pair in best])
    worst = max(best, key=lambda pair: pair.ratio.estimate)
    interval = worst.ratio
    bounds = f" [{ratio(interval.low)}, {ratio(interval.high)}]" if interval.low and interval.high else ""
    found = [
        f"Beside the fastest peer of each of {len(best)} works and sizes, ours takes {ratio(mean)} times the time "
        f"(geometric mean); {_counted(standings)}. Most at {worst.peer.work}, {_where(worst)}: "
        f"{ratio(interval.estimate)}{bounds} times {worst.peer.router}."
    ]
    absent = list(dict.fromkeys(each.peer for each in data.peer_records.left_out))
    measured = {pair.peer.router for pair in data.peer_pairs}
    if never := [name for name in absent if name not in measured]:
        found.append(f"Peers that were not measured: {listing(never)}; the reasons stand in their table.")
    return tuple(found)
