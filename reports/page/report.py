"""Every file of a report, the one page that opens without a network last, and what is said of it in the terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from tqdm import tqdm

from reports.figures.style import report_style, save
from reports.figures.theme import THEME_CSS, with_variables
from reports.format.escape import escape_markdown, one_line
from reports.format.plot import Plot
from reports.format.render import to_csv, to_latex, to_markdown, to_markdown_figure, to_text
from reports.format.table import Table
from reports.judging import paper
from reports.page import definitions
from reports.page.parts import notices, parts_of
from reports.page.run_summary import input_sources, provenance, statement
from reports.page.sections import Section
from reports.records.report_data import ReportData

_VERDICT_CLASSES = {
    "reproduced": "good",
    "holds": "good",
    "agrees": "good",
    "helps": "good",
    "approximate": "fair",
    "unclear": "fair",
    "not derivable": "poor",
    "does not hold": "poor",
    "harms": "poor",
}
# Up to so many characters stay in one line, in a wide table too.
_BRIEF = 24


def report_files(data: ReportData, sections: list[Section]) -> dict[str, bytes]:
    """Every file of the report by its relative name; the page comes last, so that it never names what is not there."""
    files: dict[str, bytes] = {}
    for table in (table for section in sections for table in section.tables):
        for ending, render in (("md", to_markdown), ("csv", to_csv), ("tex", to_latex)):
            files[f"tables/{table.name}.{ending}"] = render(table).encode()
    plots = [plot for section in sections for plot in section.plots]
    with report_style():
        for plot in tqdm(plots, desc="figures", leave=False, disable=None):
            figure = plot.draw()
            for kind in ("svg", "png"):
                files[f"figures/{plot.name}.{kind}"] = save(figure, kind)
    findings = [finding for section in sections for finding in section.findings]
    files["report.md"] = _markdown_report([*statement(data), *findings], sections).encode()
    files["index.html"] = _page(data, sections, findings, files).encode()
    return files


def announcement(data: ReportData, sections: list[Section], page: Path) -> str:
    """The report's first table, one a machine, what to know of it, what had to be left out, and where the page is."""
    parts = parts_of(data, data.entries or data.language or data.peers)
    first = [table for section in sections[:1] for table in section.tables[: len(parts)]]
    tables = [f"{one_line(table.title)}\n" * (len(parts) > 1) + to_text(table) + "\n" for table in first]
    left_out = [sentence for section in sections for sentence in section.left_out]
    said = [one_line(sentence) for sentence in (*notices(data), *data.remarks, *left_out)]
    return "\n".join([*tables, *said, f"Open {page}"])


def operating_files(table: Table, plot: Plot) -> dict[str, bytes]:
    """The operating table and curve; the Markdown comes last, because it names the picture."""
    with report_style():
        figure = plot.draw()
        files = {f"operating.{kind}": save(figure, kind) for kind in ("svg", "png")}
    files["operating.csv"] = to_csv(table).encode()
    markdown = f"{to_markdown(table)}\n{to_markdown_figure(plot, 'operating.png')}"
    return files | {"operating.md": markdown.encode()}


def _markdown_report(lead: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole report as one Markdown file beside its figures."""
    parts = ["# Routers measured", "", *(line for text in lead for line in (escape_markdown(text), ""))]
    for section in sections:
        parts += [f"## {escape_markdown(section.title)}", ""]
        parts += [escape_markdown(section.intro), ""] if section.intro else []
        parts += [to_markdown(table) for table in section.tables]
        parts += [to_markdown_figure(plot, f"figures/{plot.name}.png") for plot in section.plots]
        parts += [line for text in section.left_out for line in (escape_markdown(text), "")]
    return "\n".join(parts).rstrip() + "\n"


def _page(data: ReportData, sections: list[Section], findings: Sequence[str], files: Mapping[str, bytes]) -> str:
    """The page as HTML; `files` holds the drawn figures."""
    environment = Environment(
        loader=PackageLoader("reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    return environment.get_template("index.html.j2").render(
        statement=statement(data),
        findings=findings,
        sections=sections,
        inline_svg=lambda plot: _inline_svg(files[f"figures/{plot.name}.svg"], plot.name, plot.title),
        word_class=lambda cell: _VERDICT_CLASSES.get(cell, "brief" if len(cell) <= _BRIEF else ""),
        definitions=definitions.defined(data),
        method=definitions.METHOD,
        sources=definitions.SOURCES,
        inputs=input_sources(data),
        provenance=provenance(data),
        theme_css=Markup(THEME_CSS),
        paper=paper,
    )


def _inline_svg(svg: bytes, name: str, title: str) -> Markup:
    """matplotlib's SVG without its XML head, its ids made unique on a page that holds several.

    It is safe as markup: matplotlib escapes all text that it writes.
    """
    text = svg.decode("utf-8")
    text = with_variables(text[text.index("<svg") :])
    # An image's id is a hash of its pixels, and no one refers to it: two equal panels would share it.
    text = re.sub(r' id="image[^"]*"', "", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    opening = f'<svg role="img" aria-label="{escape(one_line(title))}" '
    return Markup(opening + text.removeprefix("<svg "))
