from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.timing.intervals import Interval, paired_ratio, resolution, summarise


def test_the_ratio_is_paired_by_round_not_by_rank() -> None:
    # Round by round twice as long, while the machine slows down by 10 within the block.
    assert paired_ratio([20, 40, 200], [10, 20, 100]) == 2


def test_one_slow_call_does_not_move_the_ratio() -> None:
    assert paired_ratio([10, 10, 10_000], [10, 10, 10]) == 1


def test_the_interval_is_students_over_the_processes() -> None:
    # Two processes with ratios 1 and e²: logs 0 and 2, mean 1, sd √2, standard error 1; t(0.975, 1) = 12.7062.
    ratio = Interval.of_ratios([1, math.e**2])
    assert math.log(ratio.estimate) == pytest.approx(1)
    assert math.log(ratio.high) == pytest.approx(1 + 12.7062, abs=1e-3)
    assert math.log(ratio.low) == pytest.approx(1 - 12.7062, abs=1e-3)


def test_processes_that_agree_leave_no_doubt() -> None:
    assert Interval.of_ratios([3.0] * 5) == Interval(pytest.approx(3), pytest.approx(3), pytest.approx(3))


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=5))
def test_a_ratio_lies_in_its_interval_and_the_inverse_is_the_reciprocal(ratios: list[float]) -> None:
    ratio, inverse = Interval.of_ratios(ratios), Interval.of_ratios([1 / value for value in ratios])
    assert ratio.low <= ratio.estimate * (1 + 1e-12)
    assert ratio.estimate <= ratio.high * (1 + 1e-12)
    assert ratio.estimate * inverse.estimate == pytest.approx(1)


def test_the_resolution_is_the_difference_that_is_found_four_times_in_five() -> None:
    # One router, logs ±1 %: sd 0.01·√2 over two processes, standard error 0.01.
    quantiles = 12.7062 + 1.3764  # t(0.975, 1) and t(0.8, 1)
    alone = resolution([[math.exp(-0.01), math.exp(0.01)]])
    assert alone == pytest.approx(math.expm1(0.01 * quantiles), rel=1e-4)
    # Pooled by variance: a router that does not spread at all halves it.
    pooled = resolution([[math.exp(-0.01), math.exp(0.01)], [2.0, 2.0]])
    assert pooled == pytest.approx(math.expm1(0.01 / math.sqrt(2) * quantiles), rel=1e-4)


def test_a_difference_of_the_resolution_is_found_about_four_times_in_five() -> None:
    generator = random.Random(0)
    sd, processes, found = 0.01, 5, 0
    # The effect that a group of many routers states, whose pooled variance is the true one.
    effect = resolution([[math.exp(generator.gauss(0, sd)) for _ in range(processes)] for _ in range(2000)])
    for _ in range(1000):
        ratio = Interval.of_ratios([math.exp(generator.gauss(math.log1p(effect), sd)) for _ in range(processes)])
        found += ratio.low > 1
    assert 0.75 < found / 1000 < 0.85


def test_summarise_gives_the_sample_standard_deviation() -> None:
    # Mean 2, squares 1 + 0 + 1, over n − 1 = 2: sd 1.
    assert summarise([1.0, 2.0, 3.0]) == {"mean": 2.0, "sd": 1.0, "values": [1.0, 2.0, 3.0]}


def test_a_number_that_does_not_exist_is_null_and_the_json_is_valid() -> None:
    summary = summarise([1.0, math.nan])
    assert summary == {"mean": None, "sd": None, "values": [1.0, None]}
    json.dumps(summary, allow_nan=False)
