"""A table as Markdown, CSV, LaTeX and plain text. Names come from JSON and from strangers: every form escapes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from reports.sections import Section
from reports.table import Table

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "−": "$-$",
        "×": r"$\times$",
        "µ": r"\textmu{}",
        "α": r"$\alpha$",
        "–": "--",
        "“": "``",
        "”": "''",
        "≤": r"$\le$",
    }
)
_MARKDOWN_SPECIAL = re.compile(r"([\\`*\[\]|~])|(?<![^\W_])(_)|(_)(?![^\W_])")


def one_line(text: str) -> str:
    """Text without line breaks, terminal escapes and other control characters."""
    return "".join(character if character.isprintable() else " " for character in text)


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is; an underscore inside a word means nothing to it and stays."""
    html_safe = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN_SPECIAL.sub(lambda match: "\\" + match.group(0), html_safe)


def escape_latex(text: str) -> str:
    """Text that LaTeX typesets as it is."""
    return one_line(text).translate(_LATEX)


def to_csv(table: Table) -> str:
    """Full-precision numbers, field names as heads."""
    return table.frame.to_csv(index=False, lineterminator="\n")


def to_markdown(table: Table) -> str:
    """A pipe table under its title, with caption and findings."""
    rule = ["---:" if column.is_number else "---" for column in table.columns]
    rows = [_markdown_row(map(escape_markdown, row)) for row in (table.headings, *table.shown())]
    lines = [f"### {escape_markdown(table.title)}", "", rows[0], _markdown_row(rule), *rows[1:], ""]
    lines += [escape_markdown(table.caption), ""]
    lines += [f"- {escape_markdown(finding)}" for finding in table.findings]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_row(cells: Sequence[str] | map[str]) -> str:
    return f"| {' | '.join(cells)} |"


def to_latex(table: Table) -> str:
    """A floating table; it asks for the packages booktabs and, for µ, textcomp."""
    columns = "".join("r" if column.is_number else "l" for column in table.columns)
    body = [" & ".join(map(escape_latex, row)) + r" \\" for row in (table.headings, *table.shown())]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.title)}. {escape_latex(table.caption)}}}",
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
    rows = [[one_line(cell) for cell in row] for row in (table.headings, *table.shown())]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for cell, width, column in zip(row, widths, table.columns, strict=True)
        ).rstrip()
        for row in rows
    )


def to_markdown_report(lead: Sequence[str], sections: Sequence[Section], plot_files: Mapping[str, str]) -> str:
    """The whole report as one Markdown file beside its figures."""
    parts = ["# Routers measured", "", *(line for text in lead for line in (escape_markdown(text), ""))]
    for section in sections:
        parts += [f"## {escape_markdown(section.title)}", ""]
        parts += [escape_markdown(section.intro), ""] if section.intro else []
        parts += [to_markdown(table) for table in section.tables]
        for plot in section.plots:
            parts += [
                f"![{escape_markdown(plot.title)}]({plot_files[plot.name]})",
                "",
                escape_markdown(plot.caption),
                "",
            ]
        parts += [line for text in section.left_out for line in (escape_markdown(text), "")]
    return "\n".join(parts).rstrip() + "\n"
