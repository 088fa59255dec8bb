"""Every file of a report, and what is said of it in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from reports.figures.style import report_style, save
from reports.format.escape import escape_markdown, one_line
from reports.format.plot import Plot
from reports.format.render import to_csv, to_latex, to_markdown, to_text
from reports.format.table import Table
from reports.page.page import render_page
from reports.page.run_summary import findings, statement
from reports.page.sections import Section
from reports.records.report_data import ReportData


def report_files(study: ReportData, sections: list[Section]) -> dict[str, bytes]:
    """Every file of the report by its relative name; the page comes last, so that it never names what is not there."""
    files: dict[str, bytes] = {}
    for table in (table for section in sections for table in section.tables):
        for ending, render in (("md", to_markdown), ("csv", to_csv), ("tex", to_latex)):
            files[f"tables/{table.name}.{ending}"] = render(table).encode()
    svgs = {}
    plots = [plot for section in sections for plot in section.plots]
    with report_style():
        for plot in tqdm(plots, desc="figures", leave=False, disable=None):
            figure = plot.draw()
            svgs[plot.name] = files[f"figures/{plot.name}.svg"] = save(figure, "svg")
            files[f"figures/{plot.name}.png"] = save(figure, "png")
    plot_files = {plot.name: f"figures/{plot.name}.png" for plot in plots}
    lead = [*statement(study), *findings(sections)]
    files["report.md"] = to_markdown_report(lead, sections, plot_files).encode()
    files["index.html"] = render_page(study, sections, svgs).encode()
    return files


def announcement(sections: list[Section], page: Path) -> str:
    """The report's first table, what had to be left out, and where the page is."""
    tables = [to_text(table) + "\n" for section in sections[:1] for table in section.tables[:1]]
    left_out = [one_line(sentence) for section in sections for sentence in section.left_out]
    return "\n".join([*tables, *left_out, f"Open {page}"])


def operating_files(table: Table, plot: Plot) -> dict[str, bytes]:
    """The operating table and curve; the Markdown comes last, because it names the picture."""
    with report_style():
        figure = plot.draw()
        files = {f"operating.{kind}": save(figure, kind) for kind in ("svg", "png")}
    files["operating.csv"] = to_csv(table).encode()
    picture = f"\n![{escape_markdown(plot.title)}](operating.png)\n\n{escape_markdown(plot.caption)}\n"
    return files | {"operating.md": (to_markdown(table) + picture).encode()}


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
