import math

import pytest

from reports.judging.intervals import Interval, mean_interval, paired_difference, unpaired_ratio


def test_mean_interval_by_hand():
    # mean 3, sd 1 (ddof 1), n 3: reach = 4.30265 · 1 / √3 = 2.48414
    interval = mean_interval([2.0, 3.0, 4.0])
    assert interval.estimate == 3
    assert interval.low == pytest.approx(0.51586, abs=1e-5)
    assert interval.high == pytest.approx(5.48414, abs=1e-5)


def test_paired_difference_uses_only_shared_seeds():
    # Seeds 1 to 3 are shared; differences 1, 2, 3: mean 2, sd 1, reach 2.48414
    difference = paired_difference({1: 10.0, 2: 20.0, 3: 30.0, 9: 5.0}, {3: 33.0, 2: 22.0, 1: 11.0, 8: 7.0})
    assert difference is not None
    assert difference.estimate == 2
    assert difference.high == pytest.approx(4.48414, abs=1e-5)


def test_pairing_removes_what_the_seed_itself_does():
    # The values spread over 100, the difference is 1 in every seed: the paired interval has no width.
    assert paired_difference({1: 0.0, 2: 50.0, 3: 100.0}, {1: 1.0, 2: 51.0, 3: 101.0}) == Interval(1.0, 1.0, 1.0)


def test_without_shared_seeds_there_is_no_difference():
    assert paired_difference({1: 1.0}, {2: 1.0}) is None


def test_one_seed_gives_no_bounds():
    assert mean_interval([1.5]) == Interval(1.5, None, None)


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        (Interval(1, 0.9, 1.1), Interval(1.15, 1.1, 1.2), True),  # they touch
        (Interval(1, 0.9, 1.05), Interval(1.15, 1.1, 1.2), False),
        (Interval(1, None, None), Interval(9, 8, 10), True),  # one block: nothing can be said
    ],
)
def test_overlap(first, second, overlap):
    assert first.overlaps(second) is second.overlaps(first) is overlap


def test_an_unpaired_ratio_by_hand():
    # Logs of base: -0.1, 0, 0.1: mean 0, variance 0.01, over 3 blocks 1/300. Logs of head: 0.18, 0.2, 0.22: mean 0.2,
    # variance 0.0004, over 3 blocks 1/7500. Together 0.0034667, whose root is 0.058878.
    # Welch: shares 0.96154 and 0.03846; 1 / (0.96154²/2 + 0.03846²/2) = 2.15976 degrees of freedom, t = 4.01162.
    # Reach 0.23620: e^0.2 = 1.22140, e^-0.03620 = 0.96445, e^0.43620 = 1.54681.
    base, head = ([math.exp(log) for log in logs] for logs in ([-0.1, 0.0, 0.1], [0.18, 0.2, 0.22]))
    ratio = unpaired_ratio(base, head)
    assert ratio.estimate == pytest.approx(1.22140, abs=1e-5)
    assert ratio.low == pytest.approx(0.96445, abs=1e-5)
    assert ratio.high == pytest.approx(1.54681, abs=1e-5)


def test_welch_agrees_with_scipy():
    from scipy.stats import ttest_ind

    base, head = [1.0, 1.1, 0.9, 1.05], [1.3, 1.2, 1.6]
    reference = ttest_ind([math.log(x) for x in head], [math.log(x) for x in base], equal_var=False)
    ratio = unpaired_ratio(base, head)
    low, high = reference.confidence_interval(0.95)
    assert (ratio.low, ratio.high) == pytest.approx((math.exp(low), math.exp(high)))


def test_the_ends_of_an_unpaired_ratio():
    assert unpaired_ratio([2.0], [3.0, 3.0]) == Interval(pytest.approx(1.5), None, None)
    assert unpaired_ratio([2.0, 2.0], [2.0, 2.0]) == Interval(1.0, 1.0, 1.0)
    assert math.isfinite(unpaired_ratio([1e-300, 1e-300], [1e300, 1e200]).high)
