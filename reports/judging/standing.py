"""Who is faster, and who cannot be told apart: ratios of times over the processes of a run, judged together.

A difference is found by Student's t over the logarithms of the processes' ratios. Two routers are the same where two
one-sided tests (TOST) show that their ratio lies within the margin on both sides. Of many comparisons in a table some
would be found by chance: Holm's correction keeps the probability that any is at 5 %, for differences and for
equivalences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, variance

from reports.judging.intervals import CONFIDENCE, Interval, t_quantile

MARGIN = 0.05
STANDING_RULE = (
    "Differences over the processes of a run, Student's t over logarithms, with Holm's correction over the comparisons "
    f"of a table. Same: shown to lie within {100 * MARGIN:.0f} % (two one-sided tests, corrected likewise). Level: the "
    "intervals can tell neither."
)


class Standing(StrEnum):
    """How a router stands to another."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    LEVEL = "level"


UNSEPARATED = (Standing.SAME, Standing.LEVEL)


@dataclass(frozen=True)
class Shift:
    """The logarithm of a ratio of times, with its standard error and the degrees of freedom of that."""

    log: float
    error: float
    freedom: float

    @classmethod
    def of(cls, ratio: Interval, processes: int) -> Shift:
        """Of a ratio with its 95 % interval over so many processes, of which one alone shows nothing."""
        freedom = max(processes - 1, 1)
        if processes < 2 or ratio.low is None or ratio.high is None:
            return cls(math.log(ratio.estimate), math.inf, freedom)
        return cls(math.log(ratio.estimate), math.log(ratio.high / ratio.low) / 2 / t_quantile(freedom), freedom)

    @classmethod
    def paired(cls, times: Sequence[float], others: Sequence[float]) -> Shift:
        """Of times over others that the same processes have measured."""
        logs = [math.log(time / other) for time, other in zip(times, others, strict=True)]
        error = math.sqrt(variance(logs) / len(logs)) if len(logs) > 1 else math.inf
        return cls(fmean(logs), error, max(len(logs) - 1, 1))

    @property
    def p_different(self) -> float:
        """The probability of as large a difference, or a larger one, between two that are equal."""
        return 2 * self._beyond(abs(self.log))

    @property
    def p_apart(self) -> float:
        """The probability of as small a difference, or a smaller one, between two that are the margin apart."""
        return self._beyond(math.log1p(MARGIN) - abs(self.log))

    def _beyond(self, distance: float) -> float:
        """The upper tail of Student's t at a distance, in standard errors."""
        from scipy.special import stdtr

        if self.error == 0:
            return 0.0 if distance > 0 else 0.5 if distance == 0 else 1.0
        return float(stdtr(self.freedom, -distance / self.error))


def holm(probabilities: Sequence[float]) -> list[float]:
    """The probabilities, adjusted for being several (Holm, 1979), in the same order."""
    order = sorted(range(len(probabilities)), key=lambda place: probabilities[place])
    adjusted, largest = [1.0] * len(probabilities), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(probabilities) - rank) * probabilities[place]))
        adjusted[place] = largest
    return adjusted


def judge(shifts: Sequence[Shift]) -> list[Standing]:
    """How each stands, as one of so many comparisons."""
    different, apart = holm([each.p_different for each in shifts]), holm([each.p_apart for each in shifts])
    level = 1 - CONFIDENCE
    standings = []
    for shift, p_different, p_apart in zip(shifts, different, apart, strict=True):
        if p_different <= level:
            standings.append(Standing.SLOWER if shift.log > 0 else Standing.FASTER)
        else:
            standings.append(Standing.SAME if p_apart <= level else Standing.LEVEL)
    return standings
