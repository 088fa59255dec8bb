"""The JSON of the regression gate, `python -m bench.gate`, checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from reports.loading.check import check
from reports.loading.document import GATE, about, expect_kind, read_document
from reports.records.record import Amount, Case, Count, Flag, Name, Number, Positive, Ratio, Record, Text
from reports.records.rules import above, other_than, outside, repeated

SCHEMA = 1
REGRESSION, NOTHING_TO_COMPARE = 1, 3
ASSUMED_MARGIN = 0.05
"""Where a file of before does not state it."""
_PROVED = ("SLOWER", "FASTER", "SAME")


class Named(Record):
    """Something of which the name alone matters here."""

    name: Text


class Commit(Record):
    """A revision."""

    ref: Text
    commit: Text
    subject: Text


class GateRow(Record):
    """A benchmark that was timed in both revisions, or failed."""

    benchmark: Case
    base_us: Positive | None = None
    head_us: Positive | None = None
    ratio: Ratio | None = None
    floor: Amount | None = None
    pairs: Count
    first_look: Ratio | None = None
    verdict: Literal["FAILED", "SLOWER", "UNCERTAIN", "FASTER", "SAME"]
    reason: Text | None = None
    expected: Flag

    def contradictions(self) -> Iterator[str | None]:
        """A verdict on times has a ratio, and a ratio has pairs."""
        if self.ratio is None:
            yield f"ratio is null beside the verdict {self.verdict}" if self.verdict in _PROVED else None
            return
        yield None if self.pairs else "pairs is 0 beside a ratio"

    def agrees(self, threshold: float, margin: float) -> str | None:
        """The rule of verdicts: what is slower or faster by more than a threshold, or the same within a margin."""
        least, most = {
            "SLOWER": (1 + threshold, None),
            "FASTER": (None, 1 / (1 + threshold)),
            "SAME": (1 / (1 + margin), 1 + margin),
        }.get(self.verdict, (None, None))
        if self.ratio is None or None in (self.ratio.low, self.ratio.high):
            return None
        between = f"[{least or 0:.6g}, {most or 'infinity'}] as {self.verdict} says"
        return outside("ratio.low", self.ratio.low, least, None, between) or outside(
            "ratio.high", self.ratio.high, None, most, between
        )


class GateFigure(Record):
    """A count or a metric that differs between the revisions."""

    benchmark: Case
    figure: Name
    base: Number | None
    head: Number | None
    expected: Flag

    def contradictions(self) -> Iterator[str | None]:
        """Figures are listed that have moved."""
        yield f"base is {self.base}, and head is the same" if self.base == self.head else None


class Outcome(Record):
    """How the gate ended, and why."""

    exit_code: Literal[0, 1, 3]
    reasons: tuple[Text, ...]

    def contradictions(self) -> Iterator[str | None]:
        """Whatever is not "no regression" has its reasons."""
        if bool(self.exit_code) != bool(self.reasons):
            yield f"exit_code is {self.exit_code}, and reasons has {len(self.reasons)} items"


class GateDocument(Record):
    """What the gate found."""

    base: Commit
    head: Commit
    preset: Named
    select: Text | None = None
    device: Text
    threads: Count
    machine: dict[str, Any]
    threshold: Positive
    margin: Positive | None = None
    floor_multiple: Number
    elapsed_s: Number
    notices: tuple[Text, ...]
    rows: tuple[GateRow, ...]
    figures: tuple[GateFigure, ...]
    figures_compared: Count
    added: tuple[Case, ...]
    removed: tuple[Case, ...]
    geometric_mean: Ratio | None = None
    outcome: Outcome

    def contradictions(self) -> Iterator[str | None]:
        """Verdicts follow from ratios, and the outcome from verdicts and figures."""
        yield repeated("rows", [row.benchmark for row in self.rows])
        yield repeated("figures", [f"{each.benchmark}: {each.figure}" for each in self.figures])
        yield repeated("added and removed", [*self.added, *self.removed])
        yield above("figures in length", len(self.figures), self.figures_compared, "figures_compared")
        margin = self.margin or max(self.threshold, ASSUMED_MARGIN)
        for index, row in enumerate(self.rows):
            words = row.agrees(self.threshold, margin)
            yield f"rows[{index}].{words}" if words else None
        yield from self._outcome()
        ratios = [row.first_look or row.ratio for row in self.rows if row.ratio]
        if self.geometric_mean:
            low, high = (pick((each.estimate for each in ratios), default=None) for pick in (min, max))
            between = f"[{low}, {high}] of the ratios"
            yield (
                other_than("geometric_mean", self.geometric_mean.estimate, None, "ratio in rows")
                if low is None
                else None
            )
            yield outside("geometric_mean.estimate", self.geometric_mean.estimate, low, high, between)

    def _outcome(self) -> Iterator[str | None]:
        accused = [f"rows[{i}], {row.verdict}" for i, row in enumerate(self.rows) if not row.expected]
        accused = [words for words in accused if not words.endswith(("SAME", "FASTER"))]
        proved = [words for words in accused if words.endswith("SLOWER")]
        moved = [f"figures[{i}], not expected" for i, each in enumerate(self.figures) if not each.expected]
        code = f"outcome.exit_code is {self.outcome.exit_code}"
        if self.outcome.exit_code != REGRESSION and (proved or moved):
            yield f"{code} beside {(proved or moved)[0]}"
        if self.outcome.exit_code == REGRESSION and not (accused or moved):
            yield f"{code}, and no row or figure accuses head"
        if self.outcome.exit_code == NOTHING_TO_COMPARE and self.rows:
            yield f"{code}, nothing to compare, beside {len(self.rows)} rows"


def read_gate(path: Path) -> GateDocument:
    """The gate's result that a file holds, or a `ReportError` that names the file and what is wrong with it."""
    with about(path):
        document = read_document(path)
        expect_kind(document, GATE, SCHEMA)
        return check(GateDocument, document)
