"""The words in which a comparison is shown, before a terminal or a comment escapes them in its own way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from reports.comparisons.comparison import Change, Comparison, MovedFigure, Row, Side
from reports.format.escape import one_line, shorten
from reports.format.numbers import DASH, duration, exact, interval, listing, ratio, within
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
# What so many benchmarks of a verdict did: one, and several.
_DID = {
    Change.FAILED: ("failed", "failed"),
    Change.SLOWER: ("is slower", "are slower"),
    Change.PERHAPS_SLOWER: ("may be slower", "may be slower"),
    Change.FASTER: ("is faster", "are faster"),
    Change.PERHAPS_FASTER: ("may be faster", "may be faster"),
}
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


def summary(comparison: Comparison) -> str:
    """The comparison in one sentence: what changed, what may have, and which figures moved."""
    numbers = Counter(row.change for row in comparison.rows)
    did = [f"{numbers[change]:,} {many if numbers[change] > 1 else one}" for change, (one, many) in _DID.items()
           if numbers[change]]  # fmt: skip
    total = counted(len(comparison.rows), "benchmark", "benchmarks")
    timed = sum(row.ratio is not None for row in comparison.unsettled)
    untimed = len(comparison.unsettled) - timed
    said = [f"of {total} {listing(did)}" if did else f"none of {total} is proved slower or faster"]
    said += [f"{counted(timed, 'measures', 'measure')} more than {percentage(comparison)} off, without proof"] * bool(
        timed
    )
    said += [f"{counted(untimed, 'was', 'were')} not timed"] * bool(untimed)
    if comparison.moved:
        said.append(f"{counted(len(comparison.moved), 'figure', 'figures')} moved{_unasked(comparison)}")
    sentence = f"{'; '.join(said)}."
    return f"{sentence[:1].upper()}{sentence[1:]}"


def counts(comparison: Comparison) -> list[str]:
    """How many rows there are of each verdict, those of interest first, as phrases."""
    numbers = Counter(row.change for row in comparison.rows)
    beyond = f" ({len(comparison.unsettled):,} beyond {percentage(comparison)})" if comparison.unsettled else ""
    return [
        f"{change} {numbers[change]:,}{beyond if change is Change.UNCERTAIN else ''}"
        for change in Change
        if numbers[change]
    ]


def percentage(comparison: Comparison) -> str:
    """The threshold."""
    return f"{100 * comparison.threshold:g} %"


def _unasked(comparison: Comparison) -> str:
    """How many of the figures that moved were not expected to; two stored runs, unlike a gate, expect nothing."""
    if all(moved.expected is None for moved in comparison.moved):
        return ""
    unexpected = len(comparison.unexpected)
    return {0: ", as expected", len(comparison.moved): ", none of them expected"}.get(
        unexpected, f", {unexpected:,} of them not expected"
    )


def notes(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """What rows have to say beside their numbers, each sentence once, with all rows that say it."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        words = note(row)
        if words:
            found.setdefault(words, []).append(row)
    return list(found.items())


def figures_by_name(moved: Iterable[MovedFigure]) -> list[str]:
    """How many benchmarks each figure moved in, the most first: `load_entropy in 9`."""
    numbers = Counter(each.figure.partition(",")[0] for each in moved)
    return [f"{figure} in {number:,}" for figure, number in numbers.most_common()]


def told_elsewhere(comparison: Comparison) -> tuple[list[str], list[str]]:
    """The reasons that say something new, and those that a row or a moved figure tells already."""
    names = {row.benchmark for row in comparison.proved} | {moved.benchmark for moved in comparison.moved}
    known = tuple(f"{benchmark}{end}" for benchmark in names for end in (":", " is ", " failed"))
    new: list[str] = []
    old: list[str] = []
    for reason in comparison.reasons:
        (old if reason.startswith(known) else new).append(reason)
    return new, old
