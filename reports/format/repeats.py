"""What a table would say in row after row, said once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from reports.format.numbers import DASH, listing
from reports.format.table import Column, Table
from reports.judging.order import STOCK

LEAST_ROWS = 3
"""In fewer nothing is tiring."""
_ROUTER = "router"
_START = ("start",)


def say_once(table: Table) -> Table:
    """The table with rows that differ in the router alone as one, and what all rows have alike in the caption.

    A table of one or two rows stays as it is; so do its first column, and all that judges. The rows keep the fields
    whose column is gone: they stand in the CSV, and so does each row by itself.
    """
    table = _with_alike_rows_merged(table)
    if len(table.rows) < LEAST_ROWS:
        return table
    shown = table.shown()
    alike = {}
    for place, column in enumerate(table.columns):
        # Of the model's own gates it goes without saying how they start.
        rows = [
            cells[place]
            for cells, row in zip(shown, table.rows, strict=True)
            if (column.fields, row.get(_ROUTER)) != (_START, STOCK)
        ]
        if place and not column.is_verdict and len(set(rows)) == 1:
            alike[column] = rows[0]
    # Fewer than two columns are no table.
    if not alike or len(table.columns) - len(alike) < 2:
        return table
    columns = tuple(column for column in table.columns if column not in alike)
    return replace(table, columns=columns, caption=f"{table.caption} {_in_words(alike)}")


def _in_words(alike: Mapping[Column, str]) -> str:
    said = [f"{column.heading} {cell}" for column, cell in alike.items() if cell != DASH]
    unknown = [column.heading for column, cell in alike.items() if cell == DASH]
    sentences = [f"The same in every row: {'; '.join(said)}."] if said else []
    sentences += [f"Of no row known or defined: {listing(unknown)}."] if unknown else []
    return " ".join(sentences)


def _with_alike_rows_merged(table: Table) -> Table:
    """One row for all routers of which the table shows the same, apart from what other text it tells rows apart by."""
    router = next((place for place, column in enumerate(table.columns) if column.fields == (_ROUTER,)), None)
    if router is None or len(table.rows) < LEAST_ROWS:
        return table
    keys = [
        place for place, each in enumerate(table.columns) if not (each.is_number or each.is_verdict or place == router)
    ]
    groups: dict[tuple[str, ...], list[int]] = {}
    shown = table.shown()
    for number, cells in enumerate(shown):
        groups.setdefault(tuple(cells[place] for place in keys), []).append(number)
    rows: list[Mapping[str, object]] = []
    for numbers in groups.values():
        here = [table.rows[number] for number in numbers]
        merged = len(here) >= LEAST_ROWS and len({_without(shown[number], router) for number in numbers}) == 1
        rows += [{**here[0], _ROUTER: f"all {len(here)} routers"}] if merged else here
    if len(rows) == len(table.rows):
        return table
    return replace(table, rows=rows, unmerged_rows=table.unmerged_rows or table.rows)


def _without(cells: Sequence[str], place: int) -> tuple[str, ...]:
    return (*cells[:place], *cells[place + 1 :])
