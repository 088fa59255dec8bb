"""Errors that end a gate run; the message of each is one line."""

LONGEST_LINE = 2000


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """Text, a revision's own perhaps, made harmless for a terminal: one line, printable, of so many characters."""
    words = "".join(character if character.isprintable() else " " for character in text[: 4 * longest]).split()
    line = " ".join(words)
    return line if len(line) <= longest else line[: longest - 1] + "…"


class GateError(Exception):
    """A user's mistake or a broken revision; the message names it."""


class WorkerError(GateError):
    """A worker process that failed, died or was too slow; the message names its revision."""


class CollectionError(GateError):
    """A revision's benchmarks could not be collected; the message says why."""


class NothingToCompareError(Exception):
    """The two revisions have no benchmark in common; the message says how many each has."""
