import pytest

from reports.format.numbers import (
    bounds,
    count,
    duration,
    exact,
    fixed,
    interval,
    listing,
    mebibytes,
    percent,
    ratio,
    significant,
    within,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.32, "0.320"), (1.0, "1.00"), (9.994, "9.99"), (9.996, "10.0"), (99.96, "100"), (1548.7, "1,549"),
        (0.0123, "0.0123"), (1.5e-6, "1.5e-06"), (None, "–"), (float("nan"), "–"),
    ],
)  # fmt: skip
def test_three_significant_digits(value, text):
    assert significant(value) == text


def test_the_other_forms():
    assert count(49664) == "49,664"
    assert percent(0.125) == "12.5 %"


def test_bytes_are_shown_in_mebibytes():
    assert mebibytes(3 * 2**19) == "1.50"
    assert mebibytes(0) == "0"
    assert mebibytes(None) == "–"
    assert fixed(2, signed=True)(-0.5) == "−0.50"
    assert fixed(2, signed=True)(-0.001) == "+0.00"
    assert fixed(2, signed=True)(0.5) == "+0.50"
    assert interval(fixed(1))(1, 0.5, 2) == "1.0 [0.5, 2.0]"
    assert interval(fixed(1))(1, None, None) == "1.0"
    assert bounds(fixed(1))(None, None) == "–"
    assert [listing(n) for n in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["none", "a", "a and b", "a, b and c"]


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (duration, 0.0333, "0.0333 µs"), (duration, 766.4, "766 µs"), (duration, 999.4, "999 µs"),
        (duration, 999.6, "1.00 ms"), (duration, 2071, "2.07 ms"), (duration, 3.2e6, "3.20 s"),
        (duration, 5e9, "5,000 s"),
        (ratio, 1.1041, "1.104"), (ratio, 0.0994, "0.0994"), (ratio, 12.34, "12.3"),
        (within, 0.004, "±0.4 %"), (within, 0.00041, "±0.041 %"), (within, 0.12, "±12 %"), (within, 3.0, "±300 %"),
        (exact, 6144, "6,144"), (exact, -3.0, "−3"), (exact, 1.952412, "1.95241"), (exact, 1e300, "1e+300"),
    ],
)  # fmt: skip
def test_the_forms_of_a_comparison(show, value, text):
    assert show(value) == text
    assert show(None) == "–"
