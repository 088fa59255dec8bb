import pytest

from reports.show import bounds, count, fixed, interval, listing, percent, significant


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
    assert fixed(2, signed=True)(-0.5) == "−0.50"
    assert fixed(2, signed=True)(-0.001) == "+0.00"
    assert fixed(2, signed=True)(0.5) == "+0.50"
    assert interval(fixed(1))(1, 0.5, 2) == "1.0 [0.5, 2.0]"
    assert interval(fixed(1))(1, None, None) == "1.0"
    assert bounds(fixed(1))(None, None) == "–"
    assert [listing(n) for n in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["none", "a", "a and b", "a, b and c"]
