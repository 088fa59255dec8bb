"""When a number of the paper counts as reproduced, and when a claim of it holds.

A number, in this order:

1. the paper leaves its definition open: not derivable, however close ours may be;
2. ours was taken at other sizes than the paper's, or does not exist: not comparable;
3. |our mean - paper| <= 2 sd over seeds + half a unit of the paper's last digit: reproduced;
4. within 15 % of the paper's number: approximate;
5. otherwise: not derivable.

An exact count is reproduced when it is equal. A claimed shift holds when its whole 95 % interval lies on the claimed
side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from statistics import fmean

from reports.judging.intervals import Interval
from reports.judging.paper import PaperTable, Printed

APPROXIMATE_WITHIN = 0.15
# Differences of decimal fractions are off by some 1e-17, which must not decide a case that lies on the boundary.
_ROUNDING = 1e-12

NUMBER_RULE = (
    "Reproduced: |our mean − paper| is at most 2 standard deviations over seeds plus half a unit of the paper's last "
    "printed digit (an exact count: equal). Approximate: otherwise, within 15 % of the paper's number. Not "
    "derivable: otherwise, and always where the paper leaves the definition open (Output STD; the auxiliary loss of "
    "Hash and Self-Supervised). Not comparable: measured at other sizes than the paper's."
)
CLAIM_RULE = (
    "Differences are paired by seed; the interval is Student's t over seeds, 95 %. Holds: the whole interval lies on "
    "the side that the paper claims. Does not hold: none of it does. Unclear: it contains zero, or there is one "
    "seed. No change: the whole interval is zero at the precision shown, however sure its sign may be."
)


FINE_TUNING_RULE = (
    "Means are over seeds, intervals Student's t over seeds, 95 %; differences are paired by seed. Of so many "
    "intervals about one in twenty misses its value. A random start is the paper's; the distilled one fits a router "
    "to the model's own gates before any training. “stock” is the model with its own gates, fine-tuned like the others."
)


class Verdict(StrEnum):
    """What became of a number of the paper."""

    REPRODUCED = "reproduced"
    APPROXIMATE = "approximate"
    NOT_DERIVABLE = "not derivable"
    NOT_COMPARABLE = "not comparable"


class Claim(StrEnum):
    """What became of a claim of the paper, for one router."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNCLEAR = "unclear"
    UNCHANGED = "no change"


def judge_number(printed: Printed, mean: float | None, sd: float | None) -> Verdict:
    """Our mean against the paper's number; without a spread (one seed) only rounding excuses a difference."""
    if printed.definition_open:
        return Verdict.NOT_DERIVABLE
    if mean is None:
        return Verdict.NOT_COMPARABLE
    distance = abs(mean - printed.value)
    if distance <= 2 * (sd or 0.0) + printed.half_unit + _ROUNDING:
        return Verdict.REPRODUCED
    return _approximate(distance, printed)


def judge_count(printed: Printed, count: int) -> Verdict:
    """An exact count against the paper's."""
    distance = abs(count - printed.value)
    return Verdict.REPRODUCED if distance == 0 else _approximate(distance, printed)


def _approximate(distance: float, printed: Printed) -> Verdict:
    within = distance <= APPROXIMATE_WITHIN * abs(printed.value) + _ROUNDING
    return Verdict.APPROXIMATE if within else Verdict.NOT_DERIVABLE


def comparable(table: PaperTable, sizes: Mapping[str, int]) -> bool:
    """Whether ours was measured at the sizes on which the paper's table depends."""
    return all(sizes.get(name) == value for name, value in table.sizes.items())


def judge_decrease(curves: Iterable[Sequence[float | None]]) -> Claim | None:
    """Whether curves, one a seed, fall at every step: holds where all do, fails where their mean does not.

    A value that does not exist belongs to a curve that has left the numbers: it does not fall. None where there are
    no two points to compare.
    """
    known = [curve for curve in curves if len(curve) > 1]
    if not known:
        return None
    if all(_falls(curve) for curve in known):
        return Claim.HOLDS
    columns = zip(*known, strict=False)
    means = [fmean(there) if len(there := _existing(column)) == len(column) else None for column in columns]
    return Claim.UNCLEAR if _falls(means) else Claim.FAILS


def _existing(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _falls(curve: Sequence[float | None]) -> bool:
    return all(old is not None and new is not None and new < old for old, new in pairwise(curve))


def judge_at_most(value: Interval, limit: float) -> Claim:
    """Whether a quantity is at most the limit: its whole interval is, none of it is, or it cannot be said."""
    if value.low is None or value.high is None:
        return Claim.UNCLEAR
    if value.high <= limit:
        return Claim.HOLDS
    return Claim.FAILS if value.low > limit else Claim.UNCLEAR


def judge_shift(difference: Interval | None, sign: int, negligible: float = 0.0) -> Claim:
    """A difference against the claim that it has this sign (+1 or -1) and is more than negligible."""
    if difference is None or difference.low is None or difference.high is None:
        return Claim.UNCLEAR
    if max(abs(difference.low), abs(difference.high)) <= negligible:
        return Claim.UNCHANGED
    low, high = sorted((sign * difference.low, sign * difference.high))
    if low > 0:
        return Claim.HOLDS
    return Claim.FAILS if high < 0 else Claim.UNCLEAR
