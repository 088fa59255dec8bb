"""All metrics of what routers decide, on the inputs that tell most."""

from __future__ import annotations

from collections.abc import Sequence

from reports.errors import MissingDataError
from reports.format import registry
from reports.format.fields import spread_fields
from reports.format.inputs import input_column, names_of
from reports.format.numbers import spread_of
from reports.format.table import EXPERTS, Column, Table, text_column
from reports.records.measurements import Entry
from reports.records.report_data import ReportData
from reports.tables.behaviour.balance import TELLING, WITHIN_A_SEED, of_seeds
from reports.tables.output_std import OUTPUT_STD


@registry.table("balance", "Metrics of balance", place=3)
def balance(data: ReportData) -> Table:
    """The metrics that have a better direction: rows are inputs and routers."""
    return _table(
        data,
        directed=True,
        name="balance-metrics",
        title="Metrics of balance",
        caption="The metrics of which one direction is better; the page's end defines them.",
        notes=(WITHIN_A_SEED,),
        missing="no metric of the files has a better direction",
    )


@registry.table("balance", "Metrics of decisions", place=4)
def decisions(data: ReportData) -> Table:
    """The metrics of which neither direction is better by itself."""
    return _table(
        data,
        directed=False,
        name="decisions",
        title="Metrics of decisions",
        caption="The metrics of which neither direction is better by itself; the page's end defines them. A dash: not "
        "defined of that router. Left out: what is 0 of every router.",
        notes=(WITHIN_A_SEED, *((OUTPUT_STD,) if "output_std" in data.metrics else ())),
        missing="every metric of the files has a better direction, and stands in the table of balance",
    )


def _table(
    data: ReportData, *, directed: bool, name: str, title: str, caption: str, notes: tuple[str, ...], missing: str
) -> Table:
    inputs = registry.inputs_shown(data)
    if not inputs:
        raise MissingDataError("the files hold no measurement of the router alone")
    telling = [each for each in inputs if each in TELLING] or inputs
    entries = [entry for each in telling for entry in data.find("router", each).values()]
    others = [entry for each in inputs if each not in telling for entry in data.find("router", each).values()]
    columns = _metric_columns(data, directed=directed)
    if not columns:
        raise MissingDataError(missing)
    left = "" if not others else f" Shown are {names_of(telling)}; the CSV has all {len(inputs)} inputs."
    return Table(
        name=name,
        title=title,
        caption=f"{caption}{left}",
        notes=notes,
        rows=[_row(entry, data) for entry in entries],
        further_rows=[_row(entry, data) for entry in others],
        columns=(
            input_column(data),
            text_column("Router", "router"),
            *((EXPERTS,) if directed else ()),
            *(each for each in columns if directed or _tells(each.fields[0], entries)),
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
        Column(record.label, (name, f"{name}_sd"), spread_of(record.format))
        for name, record in data.metrics.items()
        if (record.better is not None) is directed and not record.paper
    ]


def _row(entry: Entry, data: ReportData) -> dict[str, object]:
    row: dict[str, object] = {
        "input": entry.input,
        "router": entry.router,
        "experts_per_token": entry.experts_per_token,
    }
    for name in data.metrics:
        row |= spread_fields(name, list((of_seeds(float, entry, name) or {}).values()))
    return row
