"""Every file of a report, the page last, and what is said of it in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from reports.figures.style import report_style, save
from reports.format.escape import one_line
from reports.format.plot import Plot
from reports.format.render import to_csv, to_latex, to_markdown, to_markdown_figure, to_text
from reports.format.table import Table
from reports.overview.overview import Overview
from reports.page.html import page
from reports.page.markdown import markdown_report
from reports.page.parts import parts_of
from reports.page.run_summary import statement
from reports.page.sections import Section
from reports.records.report_data import ReportData


def report_files(data: ReportData, overview: Overview, sections: Sequence[Section]) -> dict[str, bytes]:
    """Every file of the report by its relative name; the page comes last, so that it never names what is not there."""
    files: dict[str, bytes] = {}
    for table in (*overview.tables, *(table for section in sections for table in section.tables)):
        for ending, render in (("md", to_markdown), ("csv", to_csv), ("tex", to_latex)):
            files[f"tables/{table.name}.{ending}"] = render(table).encode()
    plots = [*overview.plots, *(plot for section in sections for plot in section.plots)]
    with report_style():
        for plot in tqdm(plots, desc="figures", leave=False, disable=None):
            figure = plot.draw()
            for kind in ("svg", "png"):
                files[f"figures/{plot.name}.{kind}"] = save(figure, kind)
    files["report.md"] = markdown_report(overview, sections, statement(data)).encode()
    files["index.html"] = page(data, overview, sections, files).encode()
    return files


def announcement(data: ReportData, overview: Overview, sections: Sequence[Section], page_file: Path) -> str:
    """The report's first table, one a machine, the answers, what had to be left out, and where the page is."""
    parts = parts_of(data, data.entries or data.language or data.peers)
    first = [table for section in sections[:1] for table in section.tables[: len(parts)]]
    tables = [f"{one_line(table.title)}\n" * (len(parts) > 1) + to_text(table) + "\n" for table in first]
    left_out = [*overview.left_out, *(sentence for section in sections for sentence in section.left_out)]
    said = [one_line(sentence) for sentence in (*overview.sentences, *data.remarks, *left_out)]
    return "\n".join([*tables, *said, f"Open {page_file}"])


def operating_files(table: Table, plot: Plot) -> dict[str, bytes]:
    """The operating table and curve; the Markdown comes last, because it names the picture."""
    with report_style():
        figure = plot.draw()
        files = {f"operating.{kind}": save(figure, kind) for kind in ("svg", "png")}
    files["operating.csv"] = to_csv(table).encode()
    markdown = f"{to_markdown(table)}\n{to_markdown_figure(plot, 'operating.png')}"
    return files | {"operating.md": markdown.encode()}
