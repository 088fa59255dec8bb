"""Whose figure is the smallest over the seeds, and whom they cannot tell apart from it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, variance
from typing import Generic, TypeVar

from reports.judging.intervals import CONFIDENCE
from reports.judging.standing import Shift, holm

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Smallest(Generic[Name]):
    """The first of several, those that cannot be told apart from it, and the others, in order."""

    first: Name
    level: list[Name]
    behind: list[Name]


def smallest(values: Mapping[Name, Mapping[int, float]]) -> Smallest[Name] | None:
    """Who has the smallest mean over the seeds, judged among all pairs by differences that are paired by seed.

    The first was chosen by what was measured, so that all pairs are the comparisons to correct for (Holm). Those
    without a value are left out; None where that leaves nobody.
    """
    known = {name: by_seed for name, by_seed in values.items() if by_seed}
    if not known:
        return None
    first, *others = sorted(known, key=lambda name: fmean(known[name].values()))
    pairs = combinations([first, *others], 2)
    probabilities = holm([_shift(known[one], known[other]).p_different for one, other in pairs])[: len(others)]
    told = list(zip(others, probabilities, strict=True))
    return Smallest(
        first,
        [name for name, probability in told if probability > 1 - CONFIDENCE],
        [name for name, probability in told if probability <= 1 - CONFIDENCE],
    )


def _shift(first: Mapping[int, float], second: Mapping[int, float]) -> Shift:
    """A mean difference over the seeds that both have; without two of them it shows nothing."""
    found = [second[seed] - first[seed] for seed in first.keys() & second.keys()]
    if len(found) < 2:
        return Shift(0.0, math.inf, 1)
    return Shift(fmean(found), math.sqrt(variance(found) / len(found)), len(found) - 1)
