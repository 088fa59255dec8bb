"""A table: full-precision numbers for the CSV, and how each column shows them to a reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.format.numbers import Show, as_text, bounds, exact, interval, missing, spread


@dataclass(frozen=True)
class Column:
    """One shown column, made from one or more fields of a row.

    Attributes:
        heading: above it.
        fields: what `show` and `picture` are called with; by the first of them a reader sorts.
        show: the fields as text.
        is_number: whether it stands to the right.
        is_verdict: whether it is left out where nothing may be concluded.
        picture: the fields as markup that stands before the text on the page, and repeats it.
        why: the field that says why there is no number.
    """

    heading: str
    fields: tuple[str, ...]
    show: Show = as_text
    is_number: bool = True
    is_verdict: bool = False
    picture: Callable[..., Markup] | None = None
    why: str | None = None


NO_PICTURE = Markup("")


@dataclass(frozen=True)
class Cell:
    """A cell of the page.

    Attributes:
        text: what is read.
        order: the number to sort by, with all its digits; None for text.
        picture: markup before the text.
        why: the reason for a dash.
    """

    text: str
    order: float | None = None
    picture: Markup = NO_PICTURE
    why: str = ""


@dataclass(frozen=True)
class Table:
    """Titled rows of full-precision fields, the columns shown of them, and the sentences that follow from them."""

    name: str
    title: str
    caption: str
    rows: Sequence[Mapping[str, object]]
    columns: tuple[Column, ...]
    findings: tuple[str, ...] = ()
    row_ids: tuple[str, ...] = ()
    """What links to each row, where something does."""
    notes: tuple[str, ...] = ()
    """Sentences that other tables of its section need too: a page says them once a section, its own file too."""
    left_out: tuple[tuple[str, str], ...] = ()
    """What no row shows though it belongs there, and why: a report says each reason once, for all tables."""
    further_rows: Sequence[Mapping[str, object]] = ()
    """Rows that the CSV alone has."""
    unmerged_rows: Sequence[Mapping[str, object]] = ()
    """What stands in the CSV in the place of `rows`, where these say alike ones once."""

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All fields of the rows, those that no column shows too."""
        return pd.DataFrame(self.rows)

    @property
    def whole_frame(self) -> pd.DataFrame:
        """Every row by itself, with those that the CSV alone has."""
        return pd.DataFrame([*(self.unmerged_rows or self.rows), *self.further_rows])

    @property
    def whole_caption(self) -> str:
        """The caption and the notes, for where the table stands by itself."""
        return " ".join((self.caption, *self.notes))

    def without_verdicts(self) -> Table:
        """The same numbers, and nothing concluded from them."""
        verdicts = {field for column in self.columns if column.is_verdict for field in column.fields}
        return replace(
            self,
            rows=_without(verdicts, self.rows),
            further_rows=_without(verdicts, self.further_rows),
            unmerged_rows=_without(verdicts, self.unmerged_rows),
            columns=tuple(column for column in self.columns if not column.is_verdict),
            findings=(),
        )

    def with_findings_of(self, place: str) -> Table:
        """Findings stand in a list of all, where each says of which machine it is."""
        return replace(self, findings=tuple(f"{place}: {finding}" for finding in self.findings))

    @property
    def headings(self) -> list[str]:
        """The shown columns' headings."""
        return [column.heading for column in self.columns]

    @property
    def header(self) -> int:
        """Which column names the rows: the routers', or else the first."""
        return next((place for place, column in enumerate(self.columns) if column.fields == ("router",)), 0)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why there are dashes, each reason once, under its column's heading."""
        reasons: dict[str, dict[str, None]] = {}
        for cells in self.cells():
            for column, cell in zip(self.columns, cells, strict=True):
                if cell.why:
                    reasons.setdefault(column.heading, {})[cell.why] = None
        return tuple(f"{heading}: {'; '.join(found)}." for heading, found in reasons.items())

    def shown(self) -> list[list[str]]:
        """The rows as a reader sees them."""
        return [[cell.text for cell in cells] for cells in self.cells()]

    def cells(self) -> list[list[Cell]]:
        """The rows as the page shows them."""
        return [[_cell(column, row) for column in self.columns] for row in self.frame.to_dict("records")]


def _without(fields: set[str], rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    return [{field: value for field, value in row.items() if field not in fields} for row in rows]


def _cell(column: Column, row: Mapping[Any, Any]) -> Cell:
    values = [row[field] for field in column.fields]
    first, why = values[0], row[column.why] if column.why else None
    return Cell(
        text=column.show(*values),
        order=first if isinstance(first, int | float) and not missing(first) else None,
        picture=column.picture(*values) if column.picture else NO_PICTURE,
        why="" if missing(why) else str(why),
    )


def text_column(heading: str, field: str) -> Column:
    """A column of text."""
    return Column(heading, (field,), is_number=False)


def verdict_column(heading: str, field: str) -> Column:
    """A column of text that judges."""
    return Column(heading, (field,), is_number=False, is_verdict=True)


def spread_column(heading: str, prefix: str, show: Show) -> Column:
    """A column `1.23 ± 0.04`."""
    return Column(heading, (prefix, f"{prefix}_sd"), spread(show))


def interval_column(heading: str, prefix: str, show: Show) -> Column:
    """A column `1.23 [1.20, 1.26]`."""
    return Column(heading, (prefix, f"{prefix}_low", f"{prefix}_high"), interval(show))


def bounds_column(heading: str, prefix: str, show: Show) -> Column:
    """A column `[1.20, 1.26]`, where the estimate has a column of its own."""
    return Column(heading, (f"{prefix}_low", f"{prefix}_high"), bounds(show))


ROUTER_AND_START = (text_column("Router", "router"), text_column("Start", "start"))
"""The first columns of tables with a row for each router and start."""

EXPERTS = Column("Experts", ("experts_per_token",), exact)
"""How many experts a token selects, beside every figure that routers are compared by: it is work too."""
