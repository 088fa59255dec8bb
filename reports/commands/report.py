"""python -m reports FILE.json...: tables, figures and one page; the command that needs no first word."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from reports.commands.command import PROGRAM, commands, parse
from reports.loading.load import load_report_data
from reports.page.write import write_files

_FILES = "written by pytest bench or by python -m harness finetune"


def report(arguments: Sequence[str]) -> str:
    """Tables, figures and one page of what `pytest bench` and `python -m harness finetune` wrote."""
    options = parse(_parser(), arguments)
    data = load_report_data(options.files)
    # Imported here: pandas and matplotlib take seconds, and a mistake is told without them.
    from reports.page.first_screen import first_screen
    from reports.page.report import announcement, report_files
    from reports.page.sections import build_sections

    overview, sections = first_screen(data), build_sections(data)
    write_files(report_files(data, overview, sections), options.output)
    return announcement(data, overview, sections, options.output / "index.html")


def _parser() -> argparse.ArgumentParser:
    others = "\n".join(
        f"  {PROGRAM} {f'{word} {command.arguments}':32} {command.purpose}" for word, command in commands().items()
    )
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Turn files of benchmarks and fine-tuning into tables, figures and one offline page.",
        epilog="Benchmarks and fine-tuning in any order. Where two files hold the same measurement or run, the later\n"
        "file wins and the report says so; two language models, or two settings of fine-tuning, are refused.\n"
        f"\nother commands, each with a --help of its own:\n{others}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json", help=_FILES)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("build/report"),
        metavar="DIR",
        help="where the files go; default: %(default)s",
    )
    return parser
