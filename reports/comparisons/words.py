"""The words in which a comparison is shown, before a terminal or a comment escapes them in its own way."""

from __future__ import annotations

from collections.abc import Callable

from reports.comparisons.comparison import MovedFigure, Row, Side
from reports.format.escape import one_line, shorten
from reports.format.numbers import DASH, duration, exact, interval, ratio, within
from reports.judging.intervals import Interval

# heading, whether numbers stand in the column, and how a row fills it
_COLUMNS: tuple[tuple[str, bool, Callable[[Row], str]], ...] = (
    ("benchmark", False, lambda row: name(row.benchmark)),
    ("base", True, lambda row: duration(row.base_us)),
    ("head", True, lambda row: duration(row.head_us)),
    ("ratio", True, lambda row: ratio_words(row.ratio)),
    ("noise", True, lambda row: within(row.floor)),
    ("verdict", False, lambda row: f"{row.change} (expected)" if row.expected else str(row.change)),
)
HEADINGS = tuple(heading for heading, _, _ in _COLUMNS)
ARE_NUMBERS = tuple(is_number for _, is_number, _ in _COLUMNS)
MOVED_HEADINGS = ("benchmark", "figure", "base", "head", "")
MOVED_ARE_NUMBERS = (False, False, True, True, False)

_LONGEST_NAME = 100
_LONGEST_SENTENCE = 300
_SHORT_COMMIT = 8
_EXPECTED = {True: "expected", False: "not expected", None: ""}


def name(text: str) -> str:
    """A name, no longer than a table bears."""
    return shorten(one_line(text), _LONGEST_NAME)


def sentence(text: str) -> str:
    """Words from a file, no longer than anyone would read."""
    return shorten(one_line(text).strip(), _LONGEST_SENTENCE)


def cells(row: Row) -> list[str]:
    """A row of the table."""
    return [fill(row) for _, _, fill in _COLUMNS]


def note(row: Row) -> str | None:
    """What a row has to say beside its numbers."""
    parts = [sentence(row.reason).rstrip(".")] if row.reason else []
    parts += [f"in the first look {ratio_words(row.first_look)}"] if row.first_look else []
    return "; ".join(parts) or None


def moved_cells(moved: MovedFigure) -> list[str]:
    """A row of the table of figures that moved; values that look alike are given in full."""
    shown = [exact(moved.base), exact(moved.head)]
    if shown[0] == shown[1]:
        shown = [repr(moved.base), repr(moved.head)]
    return [name(moved.benchmark), name(moved.figure), *shown, _EXPECTED[moved.expected]]


def side(one: Side) -> tuple[str, str, str]:
    """Name, short commit and note of one side; a name that is a path may be long, and says most at its end."""
    return sentence(one.name), (one.commit or "")[:_SHORT_COMMIT], sentence(one.note)


def ratio_words(value: Interval | None) -> str:
    """A ratio with its interval."""
    return DASH if value is None else interval(ratio)(value.estimate, value.low, value.high)


def counted(number: int, one: str, many: str) -> str:
    """`1 benchmark is`, `96 benchmarks are`."""
    return f"{number:,} {one if number == 1 else many}"
