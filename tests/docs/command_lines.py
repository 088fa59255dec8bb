"""All command lines of the suite as tables, taken from the parsers themselves: `docs/reference/command-lines.md`.

`python -m tests.docs.command_lines` writes the page anew. A command is asked for its help, and the parser that would
print it is looked at instead: what a table says cannot differ from what the command takes.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import conftest
from harness.__main__ import COMMANDS
from harness.__main__ import main as harness
from reports.__main__ import main as reports
from reports.commands.command import commands

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "command-lines.md"
BEGIN, END = "<!-- commands: begin -->", "<!-- commands: end -->"
PROGRAMS = {
    "python -m bench.gate": "bench.gate.command",
    "python -m bench.gpu": "bench.gpu.command",
    "python -m bench.coverage": "bench.coverage",
    "python -m bench.router.selection": "bench.router.selection",
}
"""Programs of the measurement -> the module whose `main` takes its words."""


class _HelpError(Exception):
    """Raised in the place of printing help."""


def parser_of(main: Callable[[Sequence[str]], Any], *words: str) -> argparse.ArgumentParser:
    """The parser with which a program reads its words."""

    def caught(parser: argparse.ArgumentParser, *_: Any) -> None:
        raise _HelpError(parser)

    with patch.object(argparse.ArgumentParser, "print_help", caught):
        try:
            main([*words, "--help"])
        except _HelpError as error:
            (parser,) = error.args
            return parser
    raise AssertionError(f"{main} has no help")


def programs() -> dict[str, argparse.ArgumentParser]:
    """Every program by how it is called, those of the measurement first."""
    found = {program: parser_of(import_module(module).main) for program, module in PROGRAMS.items()}
    found |= {f"python -m harness {word}": parser_of(harness, word) for word in COMMANDS}
    found["python -m reports"] = parser_of(reports)
    return found | {f"python -m reports {word}": parser_of(reports, word) for word in commands()}


class _Options(argparse.ArgumentParser):
    """What the suite's `conftest.py` adds its options to, as if it were pytest's parser."""

    def getgroup(self, *_: str) -> _Options:
        return self

    addoption = argparse.ArgumentParser.add_argument


def suite_options() -> list[argparse.Action]:
    """The options that the suite adds to pytest's."""
    parser = _Options()
    conftest.pytest_addoption(parser)
    return parser._actions


def written() -> str:
    """The page's tables."""
    parts = ["## pytest bench", "", *table(suite_options())]
    for program, parser in programs().items():
        parts += ["", f"## {program}", "", _sentence(parser), "", *table(parser._actions)]
    return "\n".join(parts)


def table(actions: Sequence[argparse.Action]) -> list[str]:
    """A row an option, but for its help."""
    rows = [_row(action) for action in actions if not isinstance(action, argparse._HelpAction)]
    return ["| option | what it is |", "|---|---|", *rows]


def _row(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else f" {_value(action)}"
    names = ", ".join(f"`{name}{value}`" for name in action.option_strings) or f"`{_value(action)}`"
    said = (action.help or "") % {"default": action.default}
    if (default := action.default) and default != argparse.SUPPRESS and not re.search(r"\([^)]*\)$|default: ", said):
        said += f" ({default})"
    if action.choices and not all(str(choice) in said for choice in action.choices):
        said += f"; one of {', '.join(map(str, action.choices))}"
    return f"| {names} | {_cell(said)} |"


def _value(action: argparse.Action) -> str:
    metavar = action.metavar or action.dest.upper()
    name = metavar if isinstance(metavar, str) else " ".join(metavar)
    return f"{name}..." if action.nargs in ("+", "*") and not name.endswith("...") else name


def _sentence(parser: argparse.ArgumentParser) -> str:
    said = _cell(parser.description or "")
    return f"{said[:1].upper()}{said[1:].rstrip('.')}."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write the tables into the page."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n\n{written()}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
