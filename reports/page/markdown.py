"""The whole report as one Markdown file beside its figures."""

from __future__ import annotations

from collections.abc import Sequence

from reports.format.escape import escape_markdown
from reports.format.render import to_markdown, to_markdown_figure
from reports.overview.overview import Overview
from reports.page.sections import Section


def markdown_report(overview: Overview, sections: Sequence[Section], statement: Sequence[str]) -> str:
    """The same as the page, in the same order: run, trust and answers, then every table and figure."""
    parts = ["# Routers measured", "", *(f"- {escape_markdown(text)}" for text in overview.sentences), ""]
    parts += [to_markdown(table) for table in overview.tables]
    parts += [to_markdown_figure(plot, f"figures/{plot.name}.png") for plot in overview.plots]
    parts += [line for text in overview.left_out for line in (escape_markdown(text), "")]
    for section in sections:
        parts += [f"## {escape_markdown(section.title)}", ""]
        parts += [escape_markdown(section.intro), ""] if section.intro else []
        parts += [line for note in section.notes for line in (escape_markdown(note), "")]
        parts += [to_markdown(table, alone=False) for table in section.tables]
        parts += [to_markdown_figure(plot, f"figures/{plot.name}.png") for plot in section.plots]
        parts += [line for text in section.left_out for line in (escape_markdown(text), "")]
    parts += ["## The run in full", "", *(line for text in statement for line in (escape_markdown(text), ""))]
    return "\n".join(parts).rstrip() + "\n"
