"""How evenly the experts are used, and what else routers decide, input by input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from reports.errors import MissingDataError
from reports.format import registry
from reports.format.fields import spread_fields
from reports.format.numbers import by_format, fixed, listing, percent, sentence
from reports.format.table import EXPERTS, Column, Table, spread_column, text_column
from reports.records.measurements import Entry
from reports.records.report_data import ReportData
from reports.tables.output_std import OUTPUT_STD

# On average at most one and a half of the experts get the probability: nearly always the same one does.
_COLLAPSED_BELOW = 1.5
# Of no number of experts that there is: a broken file's entropy, whose exp no computer holds.
_LARGEST_ENTROPY = 300.0


@registry.table("balance", "Balance on “{}”", place=1, keys=registry.inputs_shown)
def balance(input_name: str, data: ReportData) -> Table:
    """Load and its evenness; finds the routers that have collapsed onto one expert."""
    entries = data.select("router", input_name)
    rows = [
        _row(entry, data)
        | _of_seeds("max_load", entry, partial(largest_load, num_experts=entry.num_experts), "max_violation")
        | _of_seeds("effective_experts", entry, _effective_experts, "token_entropy", "specialisation")
        for entry in entries
    ]
    return Table(
        name=f"balance-{input_name}",
        title=f"Balance on input “{input_name}”",
        caption=f"{sentence(data.inputs[input_name].description)} Mean ± sd over seeds of what is so within a seed. "
        "Experts: what a token selects; a router that selects all of them is even by definition. Largest load: the "
        "busiest expert's share of all assignments. Effective experts: exp of the entropy of the mean probabilities; 1 "
        "means that one expert gets everything.",
        rows=rows,
        columns=(
            text_column("Router", "router"),
            EXPERTS,
            spread_column("Largest load", "max_load", percent),
            *_metric_columns(data, directed=True),
            spread_column(f"Effective experts of {entries[0].sizes['num_experts']}", "effective_experts", fixed(2)),
        ),
        findings=_collapse(input_name, entries, data),
    )


@registry.table("balance", "Decisions on “{}”", place=2, keys=registry.inputs_shown)
def decisions(input_name: str, data: ReportData) -> Table:
    """The metrics of which neither direction is better by itself."""
    entries = data.select("router", input_name)
    columns = _metric_columns(data, directed=False)
    if not columns:
        raise MissingDataError("every metric of the files has a better direction, and stands in the table of balance")
    return Table(
        name=f"decisions-{input_name}",
        title=f"Decisions on input “{input_name}”",
        caption=f"{sentence(data.inputs[input_name].description)} Mean ± sd over seeds of the metrics of which neither "
        "direction is better by itself; the page's end defines them. A dash: not defined of that router. Left out: "
        f"what is 0 of every router.{OUTPUT_STD if 'output_std' in data.metrics else ''}",
        rows=[_row(entry, data) for entry in entries],
        columns=(
            text_column("Router", "router"),
            EXPERTS,
            *(each for each in columns if _tells(each.fields[0], entries)),
        ),
    )


def _tells(metric: str, entries: Sequence[Entry]) -> bool:
    """Whether a metric says something: it is another than 0 of some router in some seed, and than the column Experts.

    The spread of a fixed K is 0, and the mean of one is K.
    """
    known = [(entry, list(entry.behaviour.metric(metric).known.values())) for entry in entries]
    repeated = all(value == entry.experts_per_token for entry, values in known for value in values)
    return any(any(values) for _, values in known) and not repeated


def _metric_columns(data: ReportData, *, directed: bool) -> list[Column]:
    """A column for each metric that has a better direction, or for each that has none; the paper's has its tables."""
    return [
        spread_column(record.label, name, by_format(record.format))
        for name, record in data.metrics.items()
        if (record.better is not None) is directed and not record.paper
    ]


def _row(entry: Entry, data: ReportData) -> dict[str, object]:
    row: dict[str, object] = {"router": entry.router, "experts_per_token": entry.experts_per_token}
    for name in data.metrics:
        row |= _of_seeds(name, entry, lambda value: value, name)
    return row


def _of_seeds(prefix: str, entry: Entry, figure: Callable[..., float], *metrics: str) -> dict[str, float | None]:
    """A figure of some metrics, seed by seed and never of their means; nothing where it is unknown in a seed."""
    by_seed = [entry.behaviour.metric(name).by_seed for name in metrics]
    values = [[of[seed] for of in by_seed] for seed in by_seed[0] if all(seed in of for of in by_seed)]
    known = [figure(*each) for each in values if None not in each]
    return spread_fields(prefix, known if len(known) == len(values) else ())


def largest_load(max_violation: float, num_experts: int) -> float:
    """max n / Σ n from MaxVio = max n / mean n − 1."""
    return (1 + max_violation) / num_experts


def _effective_experts(entropy: float, specialisation: float) -> float:
    """exp H(mean p), from H(mean p) = specialisation + mean H(p).

    Loads cannot show the collapse of a router that selects every expert for every token, as the unconstrained Hadamard
    does.
    """
    return math.exp(min(entropy + specialisation, _LARGEST_ENTROPY))


def _mean_effective(entry: Entry) -> float | None:
    return _of_seeds("mean", entry, _effective_experts, "token_entropy", "specialisation")["mean"]


def _collapse(input_name: str, entries: list[Entry], data: ReportData) -> tuple[str, ...]:
    collapsed = []
    on_random = data.find("router", "random")
    for entry in entries:
        effective = _mean_effective(entry)
        if effective is None or effective >= _COLLAPSED_BELOW:
            continue
        usual = _mean_effective(on_random[entry.router]) if entry.router in on_random else None
        compared = f", {usual:.2f} on random input" if usual is not None and input_name != "random" else ""
        collapsed.append(f"{entry.router} ({effective:.2f} effective experts{compared})")
    if not collapsed:
        return ()
    return (f"On “{input_name}” input the probability collapses onto one expert for {listing(collapsed)}.",)
