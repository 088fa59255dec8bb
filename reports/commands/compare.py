"""python -m reports compare: two stored runs side by side."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from reports.commands.command import Command, parse
from reports.commands.comparing import shown, with_outputs
from reports.comparisons.stored import THRESHOLD, compare_files


def compare(arguments: Sequence[str]) -> str:
    """Two stored runs side by side."""
    parser = COMMAND.parser("compare")
    parser.epilog = (
        "Exit code 3: the files have no benchmark in common that can be compared, or are one and the same run."
    )
    parser.add_argument("base", type=Path, metavar="A.json", help="what is compared with; written by pytest bench")
    parser.add_argument("head", type=Path, metavar="B.json", help="what is judged; written by pytest bench")
    parser.add_argument(
        "--threshold",
        type=_share,
        default=THRESHOLD,
        metavar="PERCENT",
        help=f"how far a ratio has to be from 1, with its whole interval; default: {100 * THRESHOLD:g}",
    )
    options = parse(with_outputs(parser), arguments)
    return shown(compare_files(options.base, options.head, options.threshold), options)


def _share(text: str) -> float:
    """A percentage above zero as a share of one."""
    try:
        percentage = float(text)
    except ValueError:
        percentage = math.nan
    if not 0 < percentage < math.inf:
        raise argparse.ArgumentTypeError(f"not a percentage above zero: {text!r}")
    return percentage / 100


COMMAND = Command(compare, "A.json B.json", "set two stored runs side by side")
