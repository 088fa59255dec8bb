"""Whose figure is the smallest over the seeds, and whom they cannot tell apart from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, variance
from typing import Generic, TypeVar

from reports.judging.intervals import CONFIDENCE
from reports.judging.standing import Shift, holm

Name = TypeVar("Name", bound=Hashable)
Difference = Callable[[Mapping[int, float], Mapping[int, float]], Shift]
"""Values of two, by seed -> by how much the second is larger."""


@dataclass(frozen=True)
class Smallest(Generic[Name]):
    """The first of several, those that cannot be told apart from it, and the others, in order."""

    first: Name
    level: list[Name]
    behind: list[Name]


def paired_by_seed(first: Mapping[int, float], second: Mapping[int, float]) -> Shift:
    """A mean difference over the seeds that both have, of what a seed makes alike, as the order of the texts.

    Without two of them it shows nothing.
    """
    found = [second[seed] - first[seed] for seed in first.keys() & second.keys()]
    if len(found) < 2:
        return Shift(0.0, math.inf, 1)
    return Shift(fmean(found), math.sqrt(variance(found) / len(found)), len(found) - 1)


def independent_of_seed(first: Mapping[int, float], second: Mapping[int, float]) -> Shift:
    """The difference of two means, of what a seed makes not alike, as the weights of two routers (Welch 1947).

    To pair such values by seed would halve the degrees of freedom and take nothing of the scatter away. Without two
    values of each it shows nothing.
    """
    samples = [list(first.values()), list(second.values())]
    difference = fmean(samples[1]) - fmean(samples[0])
    if min(map(len, samples)) < 2:
        return Shift(difference, math.inf, 1)
    squares = [variance(sample) / len(sample) for sample in samples]
    error = math.sqrt(sum(squares))
    if error == 0:
        return Shift(difference, 0.0, 1)
    freedom = sum(squares) ** 2 / sum(
        square**2 / (len(sample) - 1) for square, sample in zip(squares, samples, strict=True)
    )
    return Shift(difference, error, freedom)


def smallest(
    values: Mapping[Name, Mapping[int, float]], difference: Difference = paired_by_seed
) -> Smallest[Name] | None:
    """Who has the smallest mean over the seeds, judged among all pairs.

    The first was chosen by what was measured, so that all pairs are the comparisons to correct for (Holm). Those
    without a value are left out; None where that leaves nobody.

    Args:
        values: of each, by seed.
        difference: how two are compared.
    """
    known = {name: by_seed for name, by_seed in values.items() if by_seed}
    if not known:
        return None
    first, *others = sorted(known, key=lambda name: fmean(known[name].values()))
    pairs = combinations([first, *others], 2)
    probabilities = holm([difference(known[one], known[other]).p_different for one, other in pairs])[: len(others)]
    told = list(zip(others, probabilities, strict=True))
    return Smallest(
        first,
        [name for name, probability in told if probability > 1 - CONFIDENCE],
        [name for name, probability in told if probability <= 1 - CONFIDENCE],
    )
