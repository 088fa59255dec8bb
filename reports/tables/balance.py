"""How evenly the experts are used, and what else routers decide, input by input."""

from __future__ import annotations

import math

from reports.errors import MissingDataError
from reports.format import registry
from reports.format.numbers import by_format, fixed, listing, percent, sentence
from reports.format.table import Column, Table, text_column
from reports.records.measurements import Entry
from reports.records.report_data import ReportData

# On average at most one and a half of the experts get the probability: nearly always the same one does.
_COLLAPSED_BELOW = 1.5


@registry.table("balance", "Balance on “{}”", place=1, keys=registry.inputs_shown)
def balance(input_name: str, data: ReportData) -> Table:
    """Load and its evenness; finds the routers that have collapsed onto one expert."""
    entries = data.select("router", input_name)
    rows = [
        {
            "router": entry.router,
            "max_load": max(entry.behaviour.expert_load, default=None),
            **_means(entry, data),
            "effective_experts": effective_experts(entry),
        }
        for entry in entries
    ]
    return Table(
        name=f"balance-{input_name}",
        title=f"Balance on input “{input_name}”",
        caption=f"{sentence(data.inputs[input_name].description)} Means over seeds. Largest load: an expert's share "
        "of all assignments. Effective experts: exp of the entropy of the mean probabilities; 1 means that one expert "
        "gets everything.",
        rows=rows,
        columns=(
            text_column("Router", "router"),
            Column("Largest load", ("max_load",), percent),
            *_metric_columns(data, directed=True),
            Column(f"Effective experts of {entries[0].sizes['num_experts']}", ("effective_experts",), fixed(2)),
        ),
        findings=_collapse(input_name, entries, data),
    )


@registry.table("balance", "Decisions on “{}”", place=2, keys=registry.inputs_shown)
def decisions(input_name: str, data: ReportData) -> Table:
    """The metrics of which neither direction is better by itself."""
    columns = _metric_columns(data, directed=False)
    if not columns:
        raise MissingDataError("every metric of the files has a better direction, and stands in the table of balance")
    return Table(
        name=f"decisions-{input_name}",
        title=f"Decisions on input “{input_name}”",
        caption=f"{sentence(data.inputs[input_name].description)} Means over seeds of the metrics of which neither "
        "direction is better by itself; the page's end defines them.",
        rows=[{"router": entry.router, **_means(entry, data)} for entry in data.select("router", input_name)],
        columns=(text_column("Router", "router"), *columns),
    )


def _metric_columns(data: ReportData, *, directed: bool) -> list[Column]:
    """A column for each metric that has a better direction, or for each that has none."""
    return [
        Column(record.label, (name,), by_format(record.format))
        for name, record in data.metrics.items()
        if (record.better is not None) is directed
    ]


def _means(entry: Entry, data: ReportData) -> dict[str, float | None]:
    return {name: entry.behaviour.metric(name).mean for name in data.metrics}


def effective_experts(entry: Entry) -> float | None:
    """exp H(mean p), from H(mean p) = specialisation + mean H(p).

    Loads cannot show the collapse of a router that selects every expert for every token, as the unconstrained Hadamard
    does.
    """
    within, between = (entry.behaviour.metric(name).mean for name in ("token_entropy", "specialisation"))
    return None if within is None or between is None else math.exp(within + between)


def _collapse(input_name: str, entries: list[Entry], data: ReportData) -> tuple[str, ...]:
    collapsed = []
    on_random = data.find("router", "random")
    for entry in entries:
        effective = effective_experts(entry)
        if effective is None or effective >= _COLLAPSED_BELOW:
            continue
        usual = effective_experts(on_random[entry.router]) if entry.router in on_random else None
        compared = f", {usual:.2f} on random input" if usual is not None and input_name != "random" else ""
        collapsed.append(f"{entry.router} ({effective:.2f} effective experts{compared})")
    if not collapsed:
        return ()
    return (f"On “{input_name}” input the probability collapses onto one expert for {listing(collapsed)}.",)
