import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.format.numbers import (
    bounds,
    by_format,
    count,
    difference,
    duration,
    exact,
    fixed,
    interval,
    listing,
    mebibytes,
    percent,
    ratio,
    scientific_spread,
    share_interval,
    significant,
    spread_of,
    within,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.32, "0.320"), (1.0, "1.00"), (9.994, "9.99"), (9.996, "10.0"), (99.96, "100"), (1548.7, "1,549"),
        (0.0123, "0.0123"), (1.5e-6, "1.5e-06"), (None, "–"), (float("nan"), "–"),
        (999_999.4, "999,999"), (999_999.5, "1.00e6"), (8.34e14, "8.34e14"), (1.234e14, "1.23e14"),
        (-1e297, "−1.00e297"), (10**400, "1.00e400"), (-0.5, "−0.500"),
    ],
)  # fmt: skip
def test_three_significant_digits(value, text):
    assert significant(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_three_significant_digits_are_never_long_and_never_far_off(value):
    shown = significant(value)
    assert len(shown) <= 10
    read = float(shown.replace("−", "-").replace(",", ""))
    assert read == pytest.approx(value, rel=0.00501, abs=5e-324) or abs(value) > 1.79e308


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**400), 10**400))
def test_no_number_is_printed_over_half_a_line(value):
    forms = [significant, fixed(4), fixed(2, signed=True), by_format(".5f"), by_format(".1%"), percent, count, exact]
    forms += [within, mebibytes, ratio, duration] if 0 <= value < 1e308 else []
    for show in forms:
        assert len(show(value)) <= 24, show


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


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.0615, 0.0595, 0.0636), "+0.0615 [+0.0595, +0.0636]"),
        # what would be +0.0000 [+0.0000, +0.0001]: two digits of the half-width, 3e-5
        ((2.1e-5, -1.0e-5, 5.2e-5), "+0.000021 [−0.000010, +0.000052]"),
        ((1e-6, 0.0, 2e-6), "< 0.0001"), ((-1e-6, -2e-6, 0.0), "< 0.0001"), ((0, 0, 0), "0"),
        ((0.2, None, None), "+0.2000"), ((None, None, None), "–"), ((0.5, 0.5, 0.5), "+0.5000 [+0.5000, +0.5000]"),
        ((-0.1, -0.1 - 1e-9, -0.1 + 1e-9), "−0.1000000 [−0.1000000, −0.1000000]"),
    ],
)  # fmt: skip
def test_a_difference_has_digits_enough_to_show_its_interval(values, text):
    assert difference(4)(*values) == text


def test_one_sign_and_one_power_of_ten_serve_a_whole_cell():
    assert share_interval(0.003, 0.0019, 0.00404) == "0.30 [0.19, 0.40] %"
    assert share_interval(0.003, None, None) == "0.30 %"
    assert (spread_of(".1%")(0.162, 0.011), spread_of(".1%")(0.162, None)) == ("16.2 ± 1.1 %", "16.2 %")
    assert spread_of(".2f")(1.0, 0.5) == "1.00 ± 0.50"
    assert scientific_spread(0.00215, 0.000194) == "(2.15 ± 0.19)e-3"
    assert (scientific_spread(0.155, None), scientific_spread(0.09999, None)) == ("1.55e-1", "1.00e-1")
    assert (scientific_spread(0, 0), scientific_spread(None, None)) == ("0", "–")
    assert scientific_spread(5e-324, 0.0) == "(0.00 ± 0.00)e-300"
