"""Two revisions or two runs side by side: what a gate's file and two stored runs both become, and what is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from reports.comparisons.ratios import RatioRow
from reports.format.machine import Difference
from reports.judging.intervals import Interval


class Change(StrEnum):
    """What became of a benchmark, in the order in which a reader wants to meet it.

    Those with a question mark are suspicions: all that times of two separate runs can support.
    """

    FAILED = "FAILED"
    SLOWER = "SLOWER"
    PERHAPS_SLOWER = "SLOWER?"
    UNCERTAIN = "UNCERTAIN"
    FASTER = "FASTER"
    PERHAPS_FASTER = "FASTER?"
    SAME = "SAME"


@dataclass(frozen=True)
class Side:
    """One of the two: a revision with its commit, or a file with the commit it was measured at."""

    name: str
    commit: str | None
    note: str


@dataclass(frozen=True)
class Row:
    """One benchmark that both sides have; times in microseconds a call, None where it was not timed.

    Attributes:
        benchmark: its name.
        base_us: median of base.
        head_us: median of head.
        ratio: head / base.
        floor: by how much the ratio of equal code typically misses 1.
        change: the verdict.
        reason: a sentence on a verdict that needs one.
        first_look: the ratio of the first look, where later processes were judged.
        expected: whether the user said beforehand that it would change (`--expect`).
    """

    benchmark: str
    base_us: float | None
    head_us: float | None
    ratio: Interval | None
    floor: float | None
    change: Change
    reason: str | None = None
    first_look: Interval | None = None
    expected: bool = False

    def beyond(self, threshold: float) -> bool:
        """Whether its estimate is off by more than that, as far below 1 as above; what was not timed may be."""
        return self.ratio is None or not 1 / (1 + threshold) <= self.ratio.estimate <= 1 + threshold


@dataclass(frozen=True)
class MovedFigure:
    """A figure that is no time and should be equal; `expected` is None where nobody could say so beforehand."""

    benchmark: str
    figure: str
    base: float | None
    head: float | None
    expected: bool | None = None


@dataclass(frozen=True)
class Excluded:
    """A benchmark that both sides have and that cannot be compared."""

    benchmark: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """All that is shown of two sides.

    Attributes:
        marker: a word that a comment's next version is found by.
        title: what the comparison is, for a heading.
        headline: the outcome in a few words.
        reasons: what the outcome follows from.
        caveat: how far the numbers can be trusted, where that has to be said above them.
        base: what is compared with.
        head: what is judged.
        setting: how it was measured, as phrases.
        machine: on what, in one line.
        machine_differences: where the two sides' machines differ.
        notices: sentences on the comparison as a whole.
        rows: by `ordered`.
        moved: figures that differ.
        figures_compared: how many were looked at.
        excluded: benchmarks that were not compared.
        added: benchmarks that only head has.
        removed: benchmarks that only base has.
        geometric_mean: of the rows' ratios.
        reading: how to read the table, as sentences.
        threshold: the share of one by which a time may differ.
        ratios: each router beside its baseline on both sides, where both have measured that.
    """

    marker: str
    title: str
    headline: str
    reasons: tuple[str, ...]
    caveat: str | None
    base: Side
    head: Side
    setting: tuple[str, ...]
    machine: str
    machine_differences: tuple[Difference, ...]
    notices: tuple[str, ...]
    rows: tuple[Row, ...]
    moved: tuple[MovedFigure, ...]
    figures_compared: int
    excluded: tuple[Excluded, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    geometric_mean: Interval | None
    reading: tuple[str, ...]
    threshold: float
    ratios: tuple[RatioRow, ...] = ()

    @property
    def changed(self) -> tuple[Row, ...]:
        """The rows whose verdict is not SAME."""
        return tuple(row for row in self.rows if row.change is not Change.SAME)

    @property
    def same(self) -> tuple[Row, ...]:
        """The others."""
        return tuple(row for row in self.rows if row.change is Change.SAME)

    @property
    def proved(self) -> tuple[Row, ...]:
        """The rows that are neither SAME nor UNCERTAIN: proved, suspected or failed."""
        return tuple(row for row in self.changed if row.change is not Change.UNCERTAIN)

    @property
    def unsettled(self) -> tuple[Row, ...]:
        """UNCERTAIN beyond the threshold, or not timed: what may well have changed, though nothing proves it."""
        return tuple(row for row in self.changed if row.change is Change.UNCERTAIN and row.beyond(self.threshold))

    @property
    def uncertain(self) -> tuple[Row, ...]:
        """UNCERTAIN within the threshold: nothing points at a change."""
        return tuple(row for row in self.changed if row.change is Change.UNCERTAIN and not row.beyond(self.threshold))

    @property
    def unexpected(self) -> tuple[MovedFigure, ...]:
        """The figures that moved and that nobody said would."""
        return tuple(moved for moved in self.moved if not moved.expected)

    @property
    def timed(self) -> int:
        """How many rows have a ratio."""
        return sum(row.ratio is not None for row in self.rows)


def ordered(rows: Iterable[Row]) -> tuple[Row, ...]:
    """By verdict, then the slowest first; rows without a ratio come last of their verdict."""
    rank = {change: place for place, change in enumerate(Change)}

    def place(row: Row) -> tuple[int, bool, float, str]:
        estimate = row.ratio.estimate if row.ratio else 0.0
        return rank[row.change], row.ratio is None, -estimate, row.benchmark

    return tuple(sorted(rows, key=place))
