"""Pairs of experts beside chance: quasi-independence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.judging.pairs import LEAST_EXPECTED, expected_pairs, ratio_to_chance


def test_equal_loads_without_preference_are_chance():
    # Six pairs of four experts, ten tokens each: every expert has 30, and chance gives each pair 10.
    counts = np.full((4, 4), 10)
    np.fill_diagonal(counts, 30)
    expected = expected_pairs(counts)
    assert expected[~np.eye(4, dtype=bool)] == pytest.approx([10.0] * 12)
    ratios = ratio_to_chance(counts)
    assert np.isnan(np.diagonal(ratios)).all()
    assert ratios[0, 1] == pytest.approx(1.0)


def test_two_couples_that_keep_to_themselves():
    # 1 and 2 always together, 3 and 4 likewise, 30 tokens each. Every expert is in 30 pairs, so that chance gives each
    # of an expert's three pairs 10: three times chance inside a couple, none across.
    counts = np.array([[30, 30, 0, 0], [30, 30, 0, 0], [0, 0, 30, 30], [0, 0, 30, 30]])
    ratios = ratio_to_chance(counts)
    assert ratios[0, 1] == pytest.approx(3.0)
    assert ratios[0, 2] == 0.0


def test_where_chance_gives_too_few_there_is_no_ratio():
    counts = np.array([[4, 2, 2], [2, 4, 2], [2, 2, 4]])
    assert expected_pairs(counts)[0, 1] < LEAST_EXPECTED
    assert np.isnan(ratio_to_chance(counts)).all()


@given(st.integers(3, 6), st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_expected_pairs_have_the_sums_that_were_counted(num_experts, seed):
    random = np.random.default_rng(seed)
    counts = np.zeros((num_experts, num_experts), dtype=int)
    for _ in range(200):
        first, second = random.choice(num_experts, 2, replace=False)
        counts[first, second] += 1
        counts[second, first] += 1
    expected = expected_pairs(counts)
    assert expected.sum(axis=1) == pytest.approx(counts.sum(axis=1), rel=1e-3)
    assert expected == pytest.approx(expected.T)


def test_no_pairs_at_all_expect_none():
    assert not expected_pairs(np.diag([3, 4])).any()
