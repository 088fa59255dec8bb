"""What rounding does to decisions at a language model's layers, one by one."""

from __future__ import annotations

from reports.format import registry
from reports.format.numbers import by_format
from reports.format.table import Column, Table, text_column
from reports.records.measurements import LanguageEntry
from reports.records.precision import Precision
from reports.records.report_data import ReportData
from reports.tables.precision.headline import HEADLINE, compared


def inside_compared(data: ReportData) -> list[LanguageEntry]:
    """One benchmark of each router inside a language model: what they decide is the same in each scenario."""
    found = {(entry.router, entry.initialise): entry for entry in compared(list(data.language))}
    everyone = [entry for name in data.scenarios("language_model") for entry in data.language if entry.scenario == name]
    return [found.pop(who) for entry in everyone if (who := (entry.router, entry.initialise)) in found]


@registry.table(
    "precision", "Precision layer by layer", place=5, keys=lambda data: inside_compared(data) and ["layer by layer"]
)
def by_layer(_: str, data: ReportData) -> Table:
    """Tokens changed in bfloat16, a row per layer and a column per router."""
    entries = [entry for entry in inside_compared(data) if entry.precision and entry.precision.layers]
    paths = list(dict.fromkeys(path for entry in entries if entry.precision for path in entry.precision.layers))
    names = [entry.router for entry in entries]
    starts = [f"{entry.router}, {entry.initialise} start" for entry in entries]
    # A field of a router's own name alone would be the layer's where somebody calls a router so.
    fields = {f"changed, {start}": entry for start, entry in zip(starts, entries, strict=True)}
    rows = [
        {"layer": path} | {field: _changed_at(path, entry.precision) for field, entry in fields.items()}
        for path in paths
    ]
    headings = [start if names.count(name) > 1 else name for name, start in zip(names, starts, strict=True)]
    return Table(
        name="precision-layers",
        title="Tokens whose set of experts bfloat16 changes, layer by layer",
        caption="Mean over seeds of the share of tokens, at each layer of the language model with experts.",
        rows=rows,
        columns=(
            text_column("Layer", "layer"),
            *(Column(heading, (field,), by_format(".2%")) for heading, field in zip(headings, fields, strict=True)),
        ),
    )


def _changed_at(path: str, found: Precision | None) -> float | None:
    changes = found.layers.get(path, {}).get(HEADLINE) if found else None
    return changes.changed_tokens.mean if changes else None
