"""Each router beside its baseline in two stored runs: ratios that are free of what the machine did to both."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from reports.judging.intervals import Interval
from reports.judging.standing import UNSEPARATED, Shift, Standing, judge
from reports.records.measurements import Measurement


@dataclass(frozen=True)
class RatioRow:
    """A router's time over the baseline's of the same run, in both runs.

    Attributes:
        group: scenario and input, or where else it was measured.
        router: its name.
        baseline: the name of that of both runs.
        base: the ratio in base.
        head: the ratio in head.
        standing: head's beside base's, as one of so many comparisons.
    """

    group: str
    router: str
    baseline: str
    base: Interval
    head: Interval
    standing: Standing

    @property
    def apart(self) -> bool:
        """Whether the two differ by more than their intervals allow."""
        return self.standing not in UNSEPARATED


def ratio_rows(pairs: Iterable[tuple[Measurement, Measurement]]) -> tuple[RatioRow, ...]:
    """A row for each benchmark (base, head) whose ratio is to the same other router in both runs."""
    kept = [(base, head) for base, head in pairs if base.router != base.timing.baseline == head.timing.baseline]
    standings = judge([_shift(base, head) for base, head in kept])
    return tuple(
        RatioRow(
            head.name.removesuffix(f" | {head.router}"),
            head.router,
            head.timing.baseline,
            base.timing.ratio,
            head.timing.ratio,
            standing,
        )
        for (base, head), standing in zip(kept, standings, strict=True)
    )


def _shift(base: Measurement, head: Measurement) -> Shift:
    """Of two ratios that share no process."""
    old, new = base.timing.shift, head.timing.shift
    return Shift(new.log - old.log, math.hypot(new.error, old.error), min(new.freedom, old.freedom))
