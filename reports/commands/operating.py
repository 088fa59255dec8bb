"""python -m reports operating: how large a slowdown the gate finds how often."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reports.commands.command import Command, parse
from reports.loading.self_test import load_self_test
from reports.page.write import write_files


def operating(arguments: Sequence[str]) -> str:
    """How large a slowdown the gate finds how often."""
    parser = COMMAND.parser("operating")
    parser.add_argument("file", type=Path, metavar="SELFTEST.json", help="written by the gate's self-test")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the files go")
    options = parse(parser, arguments)
    test = load_self_test(options.file)
    # Imported here: pandas and matplotlib take seconds, and the other commands do without them.
    from reports.figures.operating import curve
    from reports.format.render import to_text
    from reports.page.report import operating_files
    from reports.tables.operating import operating_table

    table = operating_table(test)
    write_files(operating_files(table, curve(test)), options.output)
    return "\n".join([to_text(table), "", *table.findings, f"Open {options.output / 'operating.png'}"])


COMMAND = Command(operating, "SELFTEST.json -o DIR", "show how large a slowdown the gate finds how often")
