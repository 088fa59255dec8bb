import pytest

from reports.judging.intervals import Interval
from reports.judging.paper import PARAMETERS, RANDOM_INPUT, SUPPLEMENTAL, Printed
from reports.judging.verdict import Claim, Verdict, comparable, judge_count, judge_number, judge_shift


@pytest.mark.parametrize(
    ("printed", "mean", "sd", "verdict"),
    [
        ("2.0793", 2.07933, 0.00004, Verdict.REPRODUCED),
        # 2 · 0.001 + 0.00005 = 0.00205: the boundary belongs to “reproduced”
        ("1.9513", 1.95335, 0.001, Verdict.REPRODUCED),
        ("1.9513", 1.95336, 0.001, Verdict.APPROXIMATE),
        # 15 % of 1.1003 is 0.165045
        ("1.1003", 1.265, 0.0, Verdict.APPROXIMATE),
        ("1.1003", 1.2654, 0.0, Verdict.NOT_DERIVABLE),
        ("0.0000", 0.00005, 0.0, Verdict.REPRODUCED),  # half a unit of the last digit
        ("0.0000", 0.00006, 0.0, Verdict.NOT_DERIVABLE),  # 15 % of nothing is nothing
        ("0.5000", 0.5, None, Verdict.REPRODUCED),  # one seed has no spread
        ("0.5000", None, None, Verdict.NOT_COMPARABLE),
    ],
)
def test_numbers(printed, mean, sd, verdict):
    assert judge_number(Printed(printed), mean, sd) == verdict


def test_an_open_definition_is_never_derivable_however_close():
    assert judge_number(Printed("0.03083", definition_open=True), 0.03083, 0.0) == Verdict.NOT_DERIVABLE


@pytest.mark.parametrize(
    ("count", "verdict"),
    [(6144, Verdict.REPRODUCED), (6145, Verdict.APPROXIMATE), (7066, Verdict.NOT_DERIVABLE)],
)
def test_counts_are_exact(count, verdict):
    assert judge_count(Printed("6,144"), count) == verdict


@pytest.mark.parametrize(
    ("difference", "sign", "claim"),
    [
        (Interval(-0.02, -0.03, -0.01), -1, Claim.HOLDS),
        (Interval(-0.02, -0.03, -0.01), +1, Claim.FAILS),
        (Interval(0.02, 0.01, 0.03), +1, Claim.HOLDS),
        (Interval(0.02, -0.01, 0.05), +1, Claim.UNCLEAR),
        (Interval(0.02, 0.0, 0.04), +1, Claim.UNCLEAR),
        (Interval(0.0, 0.0, 0.0), -1, Claim.UNCHANGED),
        (Interval(0.02, None, None), +1, Claim.UNCLEAR),
        (None, +1, Claim.UNCLEAR),
    ],
)
def test_claims(difference, sign, claim):
    assert judge_shift(difference, sign) == claim


def test_a_difference_that_shows_as_zero_is_no_change_however_sure():
    difference = Interval(-0.00002, -0.00003, -0.00001)
    assert judge_shift(difference, -1) == Claim.HOLDS
    assert judge_shift(difference, -1, negligible=0.00005) == Claim.UNCHANGED
    assert judge_shift(Interval(-0.00002, -0.00006, 0.00002), -1, negligible=0.00005) == Claim.UNCLEAR


def test_sizes_decide_whether_numbers_compare():
    assert comparable(RANDOM_INPUT, {"hidden_size": 768, "num_experts": 8, "top_k": 2, "num_tokens": 64})
    assert not comparable(RANDOM_INPUT, {"hidden_size": 64, "num_experts": 8, "top_k": 2})


def test_the_paper_as_printed():
    assert PARAMETERS.values["parameters"]["mlp_hadamard"].value == 101_000
    assert RANDOM_INPUT.values["latency_ms"]["hash"].half_unit == pytest.approx(0.05)
    assert SUPPLEMENTAL.values["token_entropy"]["linear"].half_unit == pytest.approx(0.00005)
    assert {r for r, p in SUPPLEMENTAL.values["aux_loss"].items() if p.definition_open} == {"hash", "self_supervised"}
    assert all(printed.definition_open for printed in SUPPLEMENTAL.values["output_std"].values())
