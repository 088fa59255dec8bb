from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.judging.intervals import Interval
from reports.judging.verdict import Claim, judge_at_most, judge_decrease
from reports.tables.conclusion import conclusion, grouped, words_by_start


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"a": Claim.HOLDS, "b": Claim.HOLDS}, "holds (2 of 2)"),
        ({"a": Claim.FAILS}, "does not hold (0 of 1)"),
        ({"a": Claim.UNCLEAR, "b": Claim.UNCLEAR}, "is unclear (0 of 2)"),
        (
            {"a": Claim.HOLDS, "b": Claim.UNCLEAR, "c": Claim.FAILS, "d": Claim.FAILS},
            "holds in part (1 of 4): does not hold for c and d; unclear for b",
        ),
        ({"a": Claim.UNCLEAR, "b": Claim.FAILS}, "is not supported (0 of 2): does not hold for b; unclear for a"),
    ],
)
def test_a_claim_over_routers(claims, sentence):
    assert conclusion(claims) == sentence


def test_words_over_routers():
    assert grouped({"a": "up", "b": "down", "c": "up"}, ["down", "up"]) == "down for b; up for a and c"
    assert grouped({"a": "up", "b": "up", "c": "up"}, ["down", "up"]) == "up for all 3 routers"


def test_the_models_own_gates_are_no_finding():
    rows = [
        {"router": "stock", "start": "original", "word": "up"},
        {"router": "mlp", "start": "random", "word": "up"},
        {"router": "mlp", "start": "distilled", "word": None},
    ]
    assert words_by_start(rows, "word") == {"random": {"mlp": "up"}}


@pytest.mark.parametrize(
    ("curves", "claim"),
    [
        ([(3.0, 2.0, 1.0), (3.0, 2.5, 0.5)], Claim.HOLDS),
        ([(3.0, 2.0, 2.0)], Claim.FAILS),  # to stay is not to fall
        ([(3.0, 2.0), (2.0, 2.5)], Claim.UNCLEAR),  # means 2.5, 2.25
        ([(3.0, 2.0), (2.0, 3.5)], Claim.FAILS),  # means 2.5, 2.75
        ([(3.0, None), (3.0, 2.0)], Claim.FAILS),
        ([(3.0,), ()], None),
        ([], None),
    ],
)
def test_a_decrease(curves, claim):
    assert judge_decrease(curves) == claim


@given(st.lists(st.lists(st.floats(0.001, 100), min_size=2, max_size=6), min_size=1, max_size=4))
def test_a_decrease_that_holds_falls_in_every_seed(curves):
    falls = all(new < old for curve in curves for old, new in pairwise(curve))
    assert (judge_decrease(curves) is Claim.HOLDS) == falls


@pytest.mark.parametrize(
    ("value", "claim"),
    [
        (Interval(1.02, 1.01, 1.03), Claim.HOLDS),
        (Interval(1.02, 1.01, 1.04), Claim.UNCLEAR),
        (Interval(1.04, 1.031, 1.05), Claim.FAILS),
        (Interval(1.0, None, None), Claim.UNCLEAR),
    ],
)
def test_at_most(value, claim):
    assert judge_at_most(value, 1.03) is claim
