"""What the command lines of the suite refuse alike."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence

_DASHES_FOR_A_VALUE = re.compile(r"--[\w-]+=--|-\w--")


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The options; `--option=--`, of which argparse makes an empty list, is an error like any other."""
    if complaint := dashes_for_a_value(words):
        parser.error(complaint)
    return parser.parse_args(words)


def dashes_for_a_value(words: Sequence[str]) -> str | None:
    """What is wrong with the first word of the form `--option=--`, or None."""
    return next((f"{word}: '--' is no value" for word in words if _DASHES_FOR_A_VALUE.fullmatch(word)), None)


def most_threads() -> int:
    """How many threads may be asked for: four times the cores.

    OpenMP ends the process where it cannot have as many as it was told; nothing is gained by more than the cores.
    """
    return 4 * (os.cpu_count() or 1)
