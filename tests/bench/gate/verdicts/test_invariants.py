from __future__ import annotations

import math
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.gate.errors import GateError
from bench.gate.revisions.facts import read_invariants
from bench.gate.verdicts.invariants import Expectations, MovedFigure, compare_invariants

NAME = "router | random | linear"
NOTHING_EXPECTED = Expectations([])


def moved(figure: str, base: float | None, head: float | None) -> bool:
    found, compared = compare_invariants({(NAME, figure): base}, {(NAME, figure): head}, NOTHING_EXPECTED)
    assert compared == 1
    return bool(found)


@pytest.mark.parametrize(
    ("figure", "base", "head", "expected"),
    [
        ("parameters", 512, 512, False),
        ("parameters", 10**9, 10**9 + 1, True),
        ("flops", 0, 1, True),
        ("peak_memory", 1000, 1010, False),
        ("peak_memory", 1000, 1012, True),
        ("peak_memory", 1000, 988, True),
        ("cv", 1.0, 1.00009, False),
        ("cv", 1.0, 1.00011, True),
        ("cv", 0.0, 0.9e-6, False),  # as good as nothing
        ("cv", 0.0, 1.1e-6, True),
        ("peak_memory", None, None, False),
        ("peak_memory", None, 0, True),
        ("cv", 1.0, None, True),
    ],
)
def test_tolerances(figure: str, base: float | None, head: float | None, expected: bool) -> None:
    assert moved(figure, base, head) is expected
    assert moved(figure, head, base) is expected


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["parameters", "peak_memory", "cv"]))
def test_a_number_is_equal_to_itself(value: float, figure: str) -> None:
    assert not moved(figure, value, value)


def test_what_moved_is_named_with_both_values() -> None:
    found, compared = compare_invariants(
        {(NAME, "flops"): 100, (NAME, "cv"): 0.5, ("only in base", "cv"): 1.0},
        {(NAME, "flops"): 300, (NAME, "cv"): 0.5, ("only in head", "cv"): 1.0},
        Expectations(["flops"]),
    )
    assert found == [MovedFigure(NAME, "flops", 100, 300, expected=True)]
    assert compared == 2
    assert asdict(found[0]) == {"benchmark": NAME, "figure": "flops", "base": 100, "head": 300, "expected": True}


def test_a_number_that_does_not_exist_is_none() -> None:
    figures = read_invariants(
        [[NAME, "cv", math.nan], [NAME, "gini", math.inf], [NAME, "margin", 0.5], [NAME, "x", None]]
    )
    assert figures == {(NAME, "cv"): None, (NAME, "gini"): None, (NAME, "margin"): 0.5, (NAME, "x"): None}


@pytest.mark.parametrize(
    ("pattern", "name", "figure", "covered"),
    [
        ("flops", NAME, "flops", True),
        ("flops", NAME, "parameters", False),
        ("linear:flops", NAME, "flops", True),
        ("linear:flops", "router | random | hash", "flops", False),
        ("linear:flops", "random | linear", "flops", True),
        ("lin*:*", NAME, "time", True),
        ("*", NAME, "check", True),
        ("hash:*", NAME, "check", False),
        ("output_std (*)", "random | linear", "output_std (gaussian)", True),
        (":flops", NAME, "flops", True),
        ("package.module:Class:time", "router | random | package.module:Class", "time", True),
        ("a|b:time", "router | random | a|b", "time", True),
    ],
)
def test_expectations(pattern: str, name: str, figure: str, covered: bool) -> None:
    assert Expectations([pattern]).cover(name, figure) is covered
    assert Expectations(["nothing", pattern]).cover(name, figure) is covered


def test_nothing_is_expected_unless_said() -> None:
    assert not NOTHING_EXPECTED.cover(NAME, "time")
    NOTHING_EXPECTED.check([])


@pytest.mark.parametrize("pattern", ["flop", "hash:flops", "linear", ""])
def test_what_names_nothing_is_refused_with_a_list(pattern: str) -> None:
    with pytest.raises(GateError, match=r"--expect '.*' names no figure of these benchmarks; there are: flops, time$"):
        Expectations(["time", pattern]).check([(NAME, "time"), (NAME, "flops")])
