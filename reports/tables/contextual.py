"""Random against pretrained input (III-E4 against III-F), and whether the paper's claims about it hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from reports.errors import MissingDataError
from reports.intervals import Interval, paired_difference
from reports.show import Show, fixed, listing
from reports.study import Entry, Study
from reports.table import Column, Table, bounds_column, interval_column, interval_fields, words
from reports.verdict import Claim, judge_shift


@dataclass(frozen=True)
class Shift:
    """A claim of III-F as a metric that moves one way from random to contextual input."""

    metric: str
    title: str
    claim: str
    sign: int
    show: Show
    show_shift: Show


POLARISED = Shift(
    "token_entropy",
    "Entropy per token",
    "routing is more polarised on contextual embeddings (lower entropy per token)",
    -1,
    fixed(4),
    fixed(4, signed=True),
)
CONCENTRATED = Shift(
    "max_violation",
    "Largest load (MaxVio)",
    "expert use is more concentrated on contextual embeddings (higher maximum load)",
    +1,
    fixed(3),
    fixed(3, signed=True),
)
VARIED = Shift(
    "output_std",
    "Output standard deviation",
    "output variance increases on contextual embeddings",
    +1,
    fixed(4),
    fixed(4, signed=True),
)


def random_against_contextual(shift: Shift, study: Study) -> Table:
    """One metric on plain, matched and contextual input, router by router, paired by seed."""
    contextual = study.select("router", "contextual")
    plain = {entry.router: entry for entry in study.select("router", "plain")}
    matched = study.find("router", "matched")
    pairs = [(plain[entry.router], entry) for entry in contextual if entry.router in plain]
    if not pairs:
        raise MissingDataError("no router was measured on both “plain” and “contextual” input")
    rows = [_row(shift, before, after, matched.get(after.router)) for before, after in pairs]
    return Table(
        name=f"contextual-{shift.metric.replace('_', '-')}",
        title=f"{shift.title}: random against contextual",
        caption=f"Claim (III-F): {shift.claim}. “plain” is N(0, 1) at the encoder's width; “matched” is the control, "
        "Gaussian with the contextual input's mean and standard deviation of each feature: what contextual adds to "
        "matched is the work of the text's structure, what matched adds to plain is that of scale and offset.",
        frame=pd.DataFrame(rows),
        columns=(
            words("Router", "router"),
            Column("plain", ("plain",), shift.show),
            Column("matched", ("matched",), shift.show),
            Column("contextual", ("contextual",), shift.show),
            interval_column("contextual − plain", "shift", shift.show_shift),
            words("Claim", "verdict"),
            interval_column("contextual − matched", "control", shift.show_shift),
            words("Against control", "control_verdict"),
        ),
        findings=(_conclusion(shift, rows), *_largest(shift, pairs), *_without_control(matched)),
    )


def _row(shift: Shift, plain: Entry, contextual: Entry, matched: Entry | None) -> dict[str, object]:
    difference = _difference(shift, plain, contextual)
    control = _difference(shift, matched, contextual) if matched else None
    return {
        "router": contextual.router,
        "plain": plain.behaviour.metric(shift.metric).mean,
        "matched": matched.behaviour.metric(shift.metric).mean if matched else None,
        "contextual": contextual.behaviour.metric(shift.metric).mean,
        **interval_fields("shift", difference),
        "verdict": str(judge_shift(difference, shift.sign)),
        **interval_fields("control", control),
        "control_verdict": str(judge_shift(control, shift.sign)) if matched else None,
    }


def _difference(shift: Shift, first: Entry, second: Entry) -> Interval | None:
    return paired_difference(first.behaviour.metric(shift.metric).known, second.behaviour.metric(shift.metric).known)


def _conclusion(shift: Shift, rows: Sequence[dict[str, object]]) -> str:
    """The claim overall: routers that cannot change (Hash's entropy is 0 by definition) do not count."""
    groups = {claim: [str(row["router"]) for row in rows if row["verdict"] == claim] for claim in Claim}
    counted = len(rows) - len(groups[Claim.UNCHANGED])
    holding = len(groups[Claim.HOLDS])
    overall = "cannot be decided"
    if counted and holding == counted:
        overall = "holds"
    elif holding:
        overall = f"holds in part ({holding} of {counted} routers)"
    elif groups[Claim.FAILS]:
        overall = "does not hold"
    parts = [f"{claim} for {_names(routers, rows)}" for claim, routers in groups.items() if routers]
    controls = [row for row in rows if row["control_verdict"]]
    kept = [str(row["router"]) for row in controls if row["control_verdict"] == Claim.HOLDS]
    control = f" Against the matched control it holds for {_names(kept, controls)}." if controls else ""
    return f"The claim that {shift.claim} {overall}: {'; '.join(parts)}.{control}"


def _names(routers: list[str], rows: Sequence[dict[str, object]]) -> str:
    return f"all {len(rows)} routers" if len(routers) == len(rows) > 1 else listing(routers)


def _largest(shift: Shift, pairs: Sequence[tuple[Entry, Entry]]) -> tuple[str, ...]:
    """The paper says that MLP's output shifts most; relative, because routers' outputs differ in scale."""
    if shift is not VARIED:
        return ()
    gains = {}
    for plain, contextual in pairs:
        before, after = (entry.behaviour.metric(shift.metric).mean for entry in (plain, contextual))
        if before and after is not None:
            gains[contextual.router] = after / before
    if not gains:
        return ()
    most = max(gains, key=lambda router: gains[router])
    beside = f" (here × {gains['mlp']:.2f})" if "mlp" in gains and most != "mlp" else ""
    return (
        f"Largest relative change of the output's standard deviation: {most}, × {gains[most]:.2f}; the paper names "
        f"MLP{beside}.",
    )


def _without_control(matched: dict[str, Entry]) -> tuple[str, ...]:
    return () if matched else ("The control input “matched” was not measured.",)


def experts(study: Study) -> Table:
    """Copied against partitioned experts inside the encoder: what the layer does to the network it replaces."""
    rows = [
        {
            "router": entry.router,
            "kind": kind,
            "output_std": layer.output_std.mean,
            **interval_fields("std", layer.output_std.interval),
            "output_error": layer.output_error.mean if layer.output_error else None,
            **interval_fields("error", layer.output_error.interval if layer.output_error else None),
        }
        for entry in study.select("router", "in_place")
        for kind, layer in entry.behaviour.layer.items()
    ]
    return Table(
        name="experts",
        title="Experts copied against partitioned",
        caption="Input “in_place”: what enters the first encoder layer's feed-forward network. Copied: every expert "
        "is that network, so that no router changes the output. Partitioned: each expert holds a share of its "
        "neurons. Error is the relative L2 distance from the original network's output; 95 % intervals over seeds.",
        frame=pd.DataFrame(rows).sort_values("kind", kind="stable"),
        columns=(
            words("Experts", "kind"),
            words("Router", "router"),
            Column("Output STD", ("output_std",), fixed(4)),
            bounds_column("95 % interval", "std", fixed(4)),
            Column("Relative error", ("output_error",), fixed(4)),
            bounds_column("95 % interval of the error", "error", fixed(4)),
        ),
    )
