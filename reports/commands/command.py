"""A command of `python -m reports`: it takes its words, writes its files and returns what to print."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules

PROGRAM = "python -m reports"


@dataclass(frozen=True)
class Command:
    """What a first word stands for; `COMMAND` of a module of this package, whose name is the word.

    Attributes:
        run: the words after the first -> what to print.
        arguments: the words, for the list of commands.
        purpose: what it does, for the list and its own help.
    """

    run: Callable[[Sequence[str]], str]
    arguments: str
    purpose: str

    def parser(self, word: str) -> argparse.ArgumentParser:
        """Without its arguments."""
        purpose = f"{self.purpose[:1].upper()}{self.purpose[1:]}."
        return argparse.ArgumentParser(prog=f"{PROGRAM} {word}", description=purpose)


def commands() -> dict[str, Command]:
    """Those that there are, by their first word."""
    modules = (module.name for module in iter_modules(import_module(__package__ or "").__path__))
    found = {name: getattr(import_module(f"{__package__}.{name}"), "COMMAND", None) for name in modules}
    return {name: command for name, command in found.items() if isinstance(command, Command)}


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The options; `--option=--`, of which argparse makes an empty list, is an error like any other."""
    for word in words:
        if re.fullmatch(r"--[\w-]+=--|-\w--", word):
            parser.error(f"{word}: '--' is no value")
    return parser.parse_args(words)
