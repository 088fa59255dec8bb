import pytest

from reports.intervals import Interval, mean_interval, paired_difference


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
