"""python -m reports FILE.json... -o DIR."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from reports.errors import ReportError
from reports.figures.style import report_style, save
from reports.load import load_study
from reports.page import render_page
from reports.render import one_line, to_csv, to_latex, to_markdown, to_markdown_report, to_text
from reports.sections import Section, build_sections
from reports.statement import findings, statement
from reports.study import Study
from reports.write import write_files

MISTAKE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the report; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        study = load_study(options.files)
        sections = build_sections(study)
        write_files(report_files(study, sections), options.output)
    except ReportError as error:
        print(f"reports: {one_line(str(error))}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("reports: interrupted, nothing written", file=sys.stderr)
        return INTERRUPTED
    try:
        _announce(sections, options.output / "index.html")
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has read enough. The interpreter flushes once more at exit, which must find an open descriptor.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def report_files(study: Study, sections: list[Section]) -> dict[str, bytes]:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reports",
        description="Turn benchmark files into tables, figures and one offline page.",
        epilog="Where two files hold the same scenario, router and input, the later file wins and the report says so.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json", help="written by pytest bench")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("build/report"), metavar="DIR", help="default: %(default)s"
    )
    return parser


def _announce(sections: list[Section], page: Path) -> None:
    if hasattr(sys.stdout, "reconfigure"):
        # A terminal that cannot show µ shows a question mark instead of a traceback.
        sys.stdout.reconfigure(errors="replace")
    for table in (table for section in sections[:1] for table in section.tables):
        print(to_text(table), end="\n\n")
    for sentence in (sentence for section in sections for sentence in section.left_out):
        print(one_line(sentence))
    print(f"Open {page}")


if __name__ == "__main__":
    sys.exit(main())
