"""Change points, against series whose steps are known."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reports.history.steps import FEWEST, SHORTEST, find_steps, first_p, level_of

RUNS = 30


def series(rng, steps=(), number=RUNS, noise=0.02):
    """Normal noise around levels; steps are (place, size in standard deviations)."""
    values = rng.normal(size=number)
    for place, size in steps:
        values[place:] += size
    return list(values * noise)


def test_flat_series_step_less_often_than_the_level_says():
    rng = np.random.default_rng(1)
    found = [bool(find_steps(series(rng), [None] * RUNS)) for _ in range(200)]
    assert sum(found) / 200 < 0.05


def test_two_hundred_flat_series_together_give_no_step():
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(20):
        many = [series(rng) for _ in range(20)]
        level = level_of([first_p(each, [None] * RUNS) for each in many])
        alarms += any(find_steps(each, [None] * RUNS, level) for each in many if level)
    assert alarms <= 2


def test_steps_of_three_standard_deviations_are_found_where_they_are():
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(200):
        place = int(rng.integers(5, RUNS - 4))
        steps = find_steps(series(rng, [(place, 3.0)]), [None] * RUNS)
        found += any(abs(step.place - place) <= 1 for step in steps)
    assert found / 200 > 0.9


def test_a_regression_that_was_mended_is_found_at_both_ends():
    rng = np.random.default_rng(4)
    both = [find_steps(series(rng, [(10, 5.0), (20, -5.0)]), [None] * RUNS) for _ in range(40)]
    assert sum([step.place for step in steps] == [10, 20] for steps in both) > 32


def test_one_odd_run_and_two_are_no_step():
    rng = np.random.default_rng(5)
    for odd in ([12], [12, 13], [28, 29]):
        values = series(rng)
        for place in odd:
            values[place] += 0.3
        assert not [step for step in find_steps(values, [None] * RUNS) if step.place in (*odd, odd[-1] + 1)]


def test_what_is_within_the_runs_own_intervals_is_no_step():
    values = [0.0] * 10 + [0.01] * 10
    assert [step.place for step in find_steps(values, [None] * 20)] == [10]
    assert find_steps(values, [0.02] * 20) == []


def test_a_run_of_a_wide_interval_weighs_less():
    rng = np.random.default_rng(6)
    values = series(rng, noise=0.001)
    values[15:20] = [value + 0.05 for value in values[15:20]]
    errors = [0.001] * RUNS
    assert find_steps(values, errors)
    assert not find_steps(values, [0.2 if 15 <= place < 20 else 0.001 for place in range(RUNS)])


def test_levels_and_interval_are_of_the_runs_on_both_sides():
    values = [math.log(value) for value in (*[100.0, 101.0, 99.0] * 3, *[150.0, 151.0, 149.0] * 3)]
    (step,) = find_steps(values, [None] * 18)
    assert step.place == 9
    assert math.exp(step.before) == pytest.approx(100.0, rel=1e-3)
    assert math.exp(step.after) == pytest.approx(150.0, rel=1e-3)
    assert math.exp(step.change.low) < 1.5 < math.exp(step.change.high)
    assert math.exp(step.change.high) / math.exp(step.change.low) < 1.05


def test_too_few_runs_hold_no_step():
    assert find_steps([0.0] * SHORTEST + [9.0] * (FEWEST - SHORTEST - 1), [None] * (FEWEST - 1)) == []
    assert find_steps([], []) == []
    assert [s.place for s in find_steps([0.0] * SHORTEST + [9.0] * SHORTEST, [None] * FEWEST)] == [SHORTEST]


def test_the_level_of_many_is_benjamini_and_hochbergs():
    assert level_of([0.001, 0.02, 0.9, 0.9], 0.05) == pytest.approx(0.05 * 2 / 4)
    assert level_of([0.03, 0.9, 0.9, 0.9], 0.05) == 0.0
    assert level_of([]) == 0.0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-700, 700, allow_subnormal=False), max_size=14),
    st.lists(st.one_of(st.none(), st.floats(0, 100)), min_size=14, max_size=14),
)
@example([0.0] * 6, [None] * 4 + [1.0, 3e-114] + [None] * 8)
def test_any_numbers_give_steps_inside_the_series(values, errors):
    steps = find_steps(values, errors[: len(values)])
    places = [0, *(step.place for step in steps), len(values)]
    assert all(b - a >= SHORTEST for a, b in pairwise(places)) or not steps
    assert 0 <= first_p(values, errors[: len(values)]) <= 1
