"""What the commands share that show a comparison: their outputs."""

from __future__ import annotations

import argparse
from pathlib import Path

from reports.comparisons.comment import to_comment
from reports.comparisons.comparison import Comparison
from reports.comparisons.terminal import to_terminal
from reports.page.write import write_file, write_files


def with_outputs(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The options that say where a comparison goes, and how much of it is shown."""
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write it for a comment on a pull request too")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="write a page with tables and figures there")
    parser.add_argument("--all", action="store_true", help="show every benchmark, those that are the same too")
    return parser


def shown(comparison: Comparison, options: argparse.Namespace) -> str:
    """Write what the options ask for; the text for the terminal."""
    said = to_terminal(comparison, show_all=options.all)
    if options.output:
        # Imported here: pandas takes a second, and without a page nothing needs it.
        from reports.comparisons.page import comparison_files

        write_files(comparison_files(comparison), options.output)
        said += f"\nOpen {options.output / 'index.html'}"
    if options.markdown:
        write_file(to_comment(comparison).encode(), options.markdown)
    return said
