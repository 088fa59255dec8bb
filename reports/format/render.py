"""A table as Markdown, CSV, LaTeX and plain text, each with its names escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from reports.format.escape import csv_cell, escape_latex, escape_markdown, one_line

if TYPE_CHECKING:
    # pandas and matplotlib stand behind these, and a comparison is shown without either.
    from reports.format.plot import Plot
    from reports.format.table import Table


def to_csv(table: Table) -> str:
    """Full-precision numbers, field names as heads; no text in it is a formula."""
    frame = table.whole_frame.map(csv_cell).rename(columns=csv_cell)
    return frame.to_csv(index=False, lineterminator="\n")


def to_markdown(table: Table, *, alone: bool = True) -> str:
    """A pipe table under its title, with caption and findings; `alone` with its notes, which a section says once."""
    rows = [markdown_row(map(escape_markdown, row)) for row in (table.headings, *table.shown())]
    rule = markdown_rule(column.is_number for column in table.columns)
    lines = [f"### {escape_markdown(table.title)}", "", rows[0], rule, *rows[1:], ""]
    lines += [escape_markdown(table.whole_caption if alone else table.caption), ""]
    lines += [f"- {escape_markdown(finding)}" for finding in table.findings]
    return "\n".join(lines).rstrip() + "\n"


def to_markdown_figure(plot: Plot, file: str) -> str:
    """A figure's picture, found beside the Markdown under that name, and its caption."""
    return f"![{escape_markdown(plot.title)}]({file})\n\n{escape_markdown(plot.caption)}\n"


def markdown_row(cells: Iterable[str]) -> str:
    """A line of a pipe table, of cells that are escaped already."""
    return f"| {' | '.join(cells)} |"


def markdown_rule(are_numbers: Iterable[bool]) -> str:
    """The line below a pipe table's headings; numbers stand to the right."""
    return markdown_row("---:" if is_number else "---" for is_number in are_numbers)


def to_latex(table: Table) -> str:
    """A floating table; it asks for the packages booktabs and, for µ, textcomp."""
    columns = "".join("r" if column.is_number else "l" for column in table.columns)
    body = [" & ".join(map(escape_latex, row)) + r" \\" for row in (table.headings, *table.shown())]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.title)}. {escape_latex(table.whole_caption)}}}",
        rf"\label{{tab:{re.sub(r'[^A-Za-z0-9-]', '-', table.name)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        body[0],
        r"\midrule",
        *body[1:],
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def to_text(table: Table) -> str:
    """Aligned columns for a terminal."""
    return align([table.headings, *table.shown()], [column.is_number for column in table.columns])


def align(rows: Sequence[Sequence[str]], are_numbers: Sequence[bool]) -> str:
    """Rows of cells, the headings first, as aligned columns; numbers stand to the right."""
    clean = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*clean, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, are_numbers, strict=True)
        ).rstrip()
        for row in clean
    )
