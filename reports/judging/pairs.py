"""Pairs of experts beside chance. Axes: E experts."""

from __future__ import annotations

from typing import Any

import numpy as np

Counts = np.ndarray[Any, np.dtype[Any]]

LEAST_EXPECTED = 5.0
"""Where chance would give fewer, a ratio to it means nothing (the usual rule of a chi-squared test)."""
_ROUNDS = 200


def expected_pairs(counts: Counts) -> Counts:
    """What quasi-independence gives: a_i a_j off the diagonal, with the row sums that were counted.

    A token's experts differ, so that the diagonal is empty by definition, and plain independence would call every
    router's pairs too frequent. The factors are found by iterative proportional fitting (Agresti, Categorical Data
    Analysis, 10.4).

    Args:
        counts: (E, E) symmetric counts of pairs; the diagonal is not looked at.

    Returns:
        (E, E) expected counts, zero on the diagonal and for experts in no pair.
    """
    observed = counts.astype(float)
    np.fill_diagonal(observed, 0)
    sums = observed.sum(axis=1)
    if not sums.any():
        return observed
    factors = sums / np.sqrt(sums.sum())
    for _ in range(_ROUNDS):
        others = factors.sum() - factors
        wanted = np.divide(sums, others, out=np.zeros_like(sums), where=others > 0)
        # The square root of both: the plain step swings between two answers, as each factor stands in rows and columns.
        factors = np.sqrt(factors * wanted)
    expected: Counts = np.outer(factors, factors)
    np.fill_diagonal(expected, 0)
    return expected


def ratio_to_chance(counts: Counts) -> Counts:
    """(E, E) counts over what chance gives; NaN on the diagonal, and where chance gives too few to say."""
    expected = expected_pairs(counts)
    ratios: Counts = np.full(counts.shape, np.nan)
    np.divide(counts, expected, out=ratios, where=expected >= LEAST_EXPECTED)
    return ratios
