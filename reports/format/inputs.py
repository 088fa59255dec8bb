"""Inputs by name, with their width where a reader would otherwise take its effect for the input's."""

from __future__ import annotations

from reports.format.numbers import listing
from reports.format.table import Column
from reports.records.report_data import ReportData


def input_labels(data: ReportData) -> dict[str, str]:
    """Each input measured -> `contextual, D = 384`, D the hidden size; the name alone where all have the same."""
    widths = {entry.input: entry.hidden_size for entry in data.entries}
    alike = len(set(widths.values())) < 2
    return {name: name if alike else f"{name}, D = {width:,}" for name, width in widths.items()}


def quoted(data: ReportData, name: str) -> str:
    """The same inside a sentence: `“contextual” (D = 384)`."""
    _, _, width = input_labels(data).get(name, name).removeprefix(name).partition(", ")
    return f"“{name}” ({width})" if width else f"“{name}”"


def input_column(data: ReportData) -> Column:
    """A column of a row's field `input`."""
    labels = input_labels(data)

    def show(name: str) -> str:
        return labels.get(name, name)

    return Column("Input", ("input",), show, is_number=False)


def described(data: ReportData, names: list[str]) -> str:
    """A sentence on what they are: `Inputs: random is N(0, 1); …`."""
    return f"Inputs: {'; '.join(f'{name} is {data.inputs[name].description}' for name in names)}."


def names_of(names: list[str]) -> str:
    """`“random”, “contextual” and “skewed”`."""
    return listing([f"“{name}”" for name in names])
