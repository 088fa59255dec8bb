"""python -m reports gate: a result of the gate, for a terminal and for a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reports.commands.command import Command, parse
from reports.commands.comparing import shown, with_outputs
from reports.comparisons.gate import load_gate


def gate(arguments: Sequence[str]) -> str:
    """A result of the gate, for a terminal and for a pull request."""
    parser = COMMAND.parser("gate")
    parser.add_argument("file", type=Path, metavar="GATE.json", help="written by python -m bench.gate")
    options = parse(with_outputs(parser), arguments)
    return shown(load_gate(options.file), options)


COMMAND = Command(gate, "GATE.json", "show what the regression gate found")
