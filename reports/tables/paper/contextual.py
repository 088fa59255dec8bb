"""Random against pretrained input (III-E4 against III-F), and whether the paper's claims about it hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.errors import MissingDataError
from reports.format import registry
from reports.format.fields import interval_fields
from reports.format.numbers import Show, difference, fixed, significant, some_of
from reports.format.table import Column, Table, text_column, verdict_column
from reports.judging.intervals import Interval, paired_difference
from reports.judging.verdict import Claim, judge_shift
from reports.records.measurements import Entry
from reports.records.report_data import ReportData
from reports.records.stat import NO_STAT, Stat
from reports.tables.output_std import OUTPUT_STD
from reports.tables.ranking import among, equals, why_unranked


@dataclass(frozen=True)
class Shift:
    """A claim of III-F as a metric that moves one way from random to contextual input."""

    name: str
    title: str
    claim: str
    sign: int
    decimals: int
    stat: Callable[[Entry], Stat]
    paper_largest: str | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.title

    @property
    def show(self) -> Show:
        """How the quantity is written."""
        return fixed(self.decimals)

    @property
    def negligible(self) -> float:
        """What the table would show as zero."""
        return 0.5 * 10.0**-self.decimals

    @property
    def show_shift(self) -> Show:
        """How a difference of it is written, with its interval."""
        return difference(self.decimals)


def _output_std(kind: str) -> Callable[[Entry], Stat]:
    def stat(entry: Entry) -> Stat:
        layer = entry.behaviour.layer
        return layer[kind].output_std if kind in layer else NO_STAT

    return stat


POLARISED = Shift(
    "entropy",
    "Entropy per token",
    "routing is more polarised on contextual embeddings (lower entropy per token)",
    -1,
    4,
    lambda entry: entry.behaviour.metric("token_entropy"),
)
CONCENTRATED = Shift(
    "load",
    "Largest load (MaxVio)",
    "expert use is more concentrated on contextual embeddings (higher maximum load)",
    +1,
    3,
    lambda entry: entry.behaviour.metric("max_violation"),
)
VARIED = Shift(
    "output-std",
    "Output standard deviation",
    "output variance increases on contextual embeddings (partitioned experts)",
    +1,
    4,
    _output_std("partitioned"),
    paper_largest="mlp",
    notes=(OUTPUT_STD,),
)
# Copied experts answer alike, so that no router changes the output: what shifts here is the input alone.
VARIED_BY_INPUT = Shift(
    "output-std-copied",
    "Output standard deviation, copied experts",
    "output variance increases on contextual embeddings (copied experts, which hide the router)",
    +1,
    4,
    _output_std("copied"),
    notes=(OUTPUT_STD,),
)
_CONTROLS = (
    "All three inputs have the encoder's width, D = {:,}: “plain” is N(0, 1); “matched” is the control, Gaussian "
    "with the contextual input's mean and standard deviation of each feature. What contextual adds to matched is the "
    "work of the text's structure, what matched adds to plain is that of scale and offset."
)
SHIFTS = (POLARISED, CONCENTRATED, VARIED, VARIED_BY_INPUT)


@registry.table("contextual", "{} (random against contextual)", place=1, keys=lambda _: SHIFTS)
def random_against_contextual(shift: Shift, data: ReportData) -> Table:
    """One metric on plain, matched and contextual input, router by router, paired by seed."""
    contextual = data.select("router", "contextual")
    plain = {entry.router: entry for entry in data.select("router", "plain")}
    matched = data.find("router", "matched")
    pairs = [
        (plain[entry.router], entry)
        for entry in contextual
        if entry.router in plain and shift.stat(entry).known and shift.stat(plain[entry.router]).known
    ]
    if not pairs:
        raise MissingDataError("no router has this quantity on both “plain” and “contextual” input")
    rows = [_row(shift, before, after, matched.get(after.router)) for before, after in pairs]
    return Table(
        name=f"contextual-{shift.name}",
        title=f"{shift.title}: random against contextual",
        caption=f"Claim (III-F): {shift.claim}. Differences with their 95 % intervals, paired by seed.",
        notes=(_CONTROLS.format(contextual[0].hidden_size), *shift.notes),
        rows=rows,
        columns=(
            text_column("Router", "router"),
            Column("plain", ("plain",), shift.show),
            Column("matched", ("matched",), shift.show),
            Column("contextual", ("contextual",), shift.show),
            _shift_column("contextual − plain", "shift", shift),
            verdict_column("Claim", "verdict"),
            _shift_column("contextual − matched", "control", shift),
            verdict_column("Against control", "control_verdict"),
        ),
        findings=(_conclusion(shift, rows), *_largest(shift, pairs, data)),
        left_out=() if matched else (("The control of random against contextual", "“matched” input was not measured"),),
    )


def _shift_column(heading: str, prefix: str, shift: Shift) -> Column:
    return Column(heading, (prefix, f"{prefix}_low", f"{prefix}_high"), shift.show_shift)


def _row(shift: Shift, plain: Entry, contextual: Entry, matched: Entry | None) -> dict[str, object]:
    difference = _difference(shift, plain, contextual)
    control = _difference(shift, matched, contextual) if matched else None
    return {
        "router": contextual.router,
        "plain": shift.stat(plain).mean,
        "matched": shift.stat(matched).mean if matched else None,
        "contextual": shift.stat(contextual).mean,
        **interval_fields("shift", difference),
        "verdict": str(judge_shift(difference, shift.sign, shift.negligible)),
        **interval_fields("control", control),
        "control_verdict": str(judge_shift(control, shift.sign, shift.negligible)) if matched else None,
    }


def _difference(shift: Shift, first: Entry, second: Entry) -> Interval | None:
    return paired_difference(shift.stat(first).known, shift.stat(second).known)


def _conclusion(shift: Shift, rows: Sequence[dict[str, object]]) -> str:
    """The claim overall: routers that cannot change (Hash's entropy is 0 by definition) do not count."""
    groups = {claim: [str(row["router"]) for row in rows if row["verdict"] == claim] for claim in Claim}
    counted = len(rows) - len(groups[Claim.UNCHANGED])
    holding = len(groups[Claim.HOLDS])
    overall = "holds" if holding == counted else "holds in part" if holding else "is not supported"
    if counted:
        overall += f" ({holding} of {counted} routers)"
    else:
        overall = "cannot be decided"
    everyone = [str(row["router"]) for row in rows]
    parts = [f"{claim} for {some_of(routers, everyone)}" for claim, routers in groups.items() if routers]
    controls = [row for row in rows if row["control_verdict"]]
    kept = [str(row["router"]) for row in controls if row["control_verdict"] == Claim.HOLDS]
    said = some_of(kept, [str(row["router"]) for row in controls])
    control = f" Against the matched control it holds for {said}." if controls else ""
    return f"The claim that {shift.claim} {overall}: {'; '.join(parts)}.{control}"


def _largest(shift: Shift, pairs: Sequence[tuple[Entry, Entry]], data: ReportData) -> tuple[str, ...]:
    """The paper says whose output shifts most; relative, because routers' outputs differ in scale."""
    if shift.paper_largest is None:
        return ()
    reason = why_unranked(data, [contextual for _, contextual in pairs], data.routers)
    if reason:
        return (f"{shift.title}, largest relative change: nobody is named, {reason}.",)
    same, _ = equals([contextual for _, contextual in pairs])
    factors = {}
    for plain, contextual in pairs:
        if contextual not in same:
            continue
        before, after = (shift.stat(entry).mean for entry in (plain, contextual))
        if before and after:
            factors[contextual.router] = after / before
    if not factors:
        return ()
    most = max(factors, key=lambda router: abs(math.log(factors[router])))
    way = "increase" if factors[most] > 1 else "decrease"
    named = shift.paper_largest
    beside = f" (here × {significant(factors[named])})" if named in factors and most != named else ""
    return (
        f"{shift.title}, largest relative change {among(same[0])}: {way} for {most}, × {significant(factors[most])}; "
        f"the paper has an increase, largest for {named}{beside}.",
    )
