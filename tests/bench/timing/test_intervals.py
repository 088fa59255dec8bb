from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.timing.intervals import paired_ratio, summarise


def test_the_ratio_is_paired_by_round_not_by_rank() -> None:
    # Round by round twice as long, while the machine slows down by 10 within the block.
    ratio = paired_ratio([[20, 40, 200]] * 2, [[10, 20, 100]] * 2)
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx((2, 2, 2))


def test_the_interval_is_students_over_the_blocks() -> None:
    # Two blocks with ratios 1 and e²: logs 0 and 2, mean 1, sd √2, standard error 1; t(0.975, 1) = 12.7062.
    ratio = paired_ratio([[1000], [7389056]], [[1000], [1000000]])
    assert math.log(ratio.estimate) == pytest.approx(1, abs=1e-6)
    assert math.log(ratio.high) == pytest.approx(1 + 12.7062, abs=1e-3)
    assert math.log(ratio.low) == pytest.approx(1 - 12.7062, abs=1e-3)


def test_more_rounds_of_the_same_blocks_do_not_narrow_the_interval() -> None:
    few = paired_ratio([[11], [10]], [[10], [10]])
    many = paired_ratio([[11] * 1000, [10] * 1000], [[10] * 1000, [10] * 1000])
    assert (few.low, few.high) == pytest.approx((many.low, many.high))


def test_one_slow_call_does_not_move_the_ratio() -> None:
    ratio = paired_ratio([[10, 10, 10_000]] * 5, [[10, 10, 10]] * 5)
    assert ratio.estimate == pytest.approx(1)


@given(st.lists(st.lists(st.integers(1, 10**9), min_size=3, max_size=3), min_size=2, max_size=5))
def test_a_ratio_lies_in_its_interval_and_the_inverse_is_the_reciprocal(blocks: list[list[int]]) -> None:
    baseline = [[1000, 1000, 1000]] * len(blocks)
    ratio, inverse = paired_ratio(blocks, baseline), paired_ratio(baseline, blocks)
    assert ratio.low <= ratio.estimate * (1 + 1e-12)
    assert ratio.estimate <= ratio.high * (1 + 1e-12)
    assert ratio.estimate * inverse.estimate == pytest.approx(1)


def test_summarise_gives_the_sample_standard_deviation() -> None:
    # Mean 2, squares 1 + 0 + 1, over n − 1 = 2: sd 1.
    assert summarise([1.0, 2.0, 3.0]) == {"mean": 2.0, "sd": 1.0, "values": [1.0, 2.0, 3.0]}


def test_a_number_that_does_not_exist_is_null_and_the_json_is_valid() -> None:
    summary = summarise([1.0, math.nan])
    assert summary == {"mean": None, "sd": None, "values": [1.0, None]}
    json.dumps(summary, allow_nan=False)
