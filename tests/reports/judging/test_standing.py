from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.judging.intervals import Interval
from reports.judging.standing import MARGIN, Shift, Standing, holm, judge


def test_holm_multiplies_the_smallest_most_and_keeps_the_order() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04, and none below the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.9]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusted_probabilities_are_no_smaller_and_in_the_same_order(probabilities: list[float]) -> None:
    adjusted = holm(probabilities)
    assert all(after >= before for before, after in zip(probabilities, adjusted, strict=True))
    places = range(len(probabilities))
    assert all(adjusted[a] <= adjusted[b] for a in places for b in places if probabilities[a] < probabilities[b])


def test_a_paired_difference_is_students() -> None:
    # Logs 0.01 and 0.03: mean 0.02, sd 0.01·√2, error 0.01; t = 2 with one degree of freedom: p = 2·0.14758.
    shift = Shift.paired([math.exp(0.01), 2 * math.exp(0.03)], [1, 2])
    assert (shift.log, shift.error, shift.freedom) == (pytest.approx(0.02), pytest.approx(0.01), 1)
    assert shift.p_different == pytest.approx(2 * 0.147584, abs=1e-6)


def test_an_interval_gives_its_standard_error_back() -> None:
    # t(0.975, 4) = 2.7764.
    shift = Shift.of(Interval(math.exp(0.1), math.exp(0.1 - 2.7764 * 0.02), math.exp(0.1 + 2.7764 * 0.02)), 5)
    assert (shift.log, shift.error, shift.freedom) == (pytest.approx(0.1), pytest.approx(0.02, rel=1e-4), 4)


def test_equal_code_that_measures_exactly_alike_is_the_same_and_without_an_interval_level() -> None:
    assert judge([Shift.paired([1.0, 1.0], [1.0, 1.0]), Shift.of(Interval(3.0), 1)]) == [Standing.SAME, Standing.LEVEL]


def test_one_process_alone_shows_no_difference() -> None:
    # Its interval has no width: nothing is known of how processes differ.
    assert judge([Shift.of(Interval(3.0, 3.0, 3.0), 1), Shift.paired([3.0], [1.0])]) == [Standing.LEVEL] * 2


@pytest.mark.parametrize(
    ("log", "error", "standing"),
    [
        (0.2, 0.01, Standing.SLOWER),
        (-0.2, 0.01, Standing.FASTER),
        (0.002, 0.003, Standing.SAME),
        (0.04, 0.02, Standing.LEVEL),  # neither different nor within the margin
        (0.01, 0.001, Standing.SLOWER),  # small, and certain
    ],
)
def test_how_one_stands(log: float, error: float, standing: Standing) -> None:
    assert judge([Shift(log, error, 4)]) == [standing]


def test_among_many_a_difference_needs_more() -> None:
    borderline = Shift(0.1, 0.032, 4)  # p = 0.036
    assert judge([borderline]) == [Standing.SLOWER]
    assert judge([borderline, *[Shift(0.0, 0.05, 4)] * 7])[0] is Standing.LEVEL


@pytest.mark.parametrize(("true_log", "wrong"), [(0.0, {"faster", "slower"}), (math.log1p(MARGIN), {"same"})])
def test_of_tables_of_eight_at_most_one_in_twenty_says_something_wrong(true_log: float, wrong: set[str]) -> None:
    generator, tables = random.Random(1), 600

    def measured() -> Shift:
        return Shift.paired([math.exp(generator.gauss(true_log, 0.01)) for _ in range(5)], [1.0] * 5)

    said_wrong = sum(bool(wrong & {str(each) for each in judge([measured() for _ in range(8)])}) for _ in range(tables))
    assert said_wrong / tables < 0.05 + 3 * math.sqrt(0.05 * 0.95 / tables)
