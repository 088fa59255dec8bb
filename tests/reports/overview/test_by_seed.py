import pytest

from reports.overview.by_seed import independent_of_seed, smallest

EVEN = {0: 1.00, 1: 1.01, 2: 0.99}


def test_the_smallest_mean_is_first_and_a_sure_difference_is_behind():
    # differences 1.0 ± 0.01 over three seeds: t = 1.0 / (0.01 / √3) = 173 of two degrees of freedom
    found = smallest({"b": {0: 2.0, 1: 2.02, 2: 1.98}, "a": EVEN})
    assert (found.first, found.level, found.behind) == ("a", [], ["b"])


def test_seeds_are_paired():
    # far apart from seed to seed, and the second always 0.1 above: certain, although the spreads overlap
    wide = {0: 1.0, 1: 5.0, 2: 9.0}
    found = smallest({"above": {seed: value + 0.1 + 0.0001 * seed for seed, value in wide.items()}, "wide": wide})
    assert (found.first, found.behind) == ("wide", ["above"])


def test_what_a_seed_makes_not_alike_is_not_paired():
    # Means 0 and 5, variances 2.5 and 10 over five seeds: 5 / √(0.5 + 2) = 3.162 of (0.5 + 2)² / (0.5² / 4 + 2² / 4)
    # = 5.88 degrees of freedom, whatever the order of the seeds.
    first = dict(enumerate([-2.0, -1.0, 0.0, 1.0, 2.0]))
    for values in ([1.0, 3.0, 5.0, 7.0, 9.0], [9.0, 3.0, 7.0, 1.0, 5.0]):
        shift = independent_of_seed(first, dict(enumerate(values)))
        assert (shift.log, shift.error) == (5.0, pytest.approx(2.5**0.5))
        assert shift.freedom == pytest.approx(5.882, abs=1e-3)
    assert smallest({"a": first, "b": {0: 5.0}}, independent_of_seed).level == ["b"]
    assert smallest({"a": EVEN, "b": EVEN}, independent_of_seed).level == ["b"]
    assert smallest({"a": dict.fromkeys(range(3), 1.0), "b": dict.fromkeys(range(3), 2.0)}, independent_of_seed).behind


@pytest.mark.parametrize("other", [{0: 1.2, 1: 1.0, 2: 1.1}, {0: 3.0}, {7: 3.0, 8: 3.1}])
def test_what_the_seeds_do_not_tell_is_level(other):
    assert smallest({"a": EVEN, "b": other}).level == ["b"]


def test_many_comparisons_ask_for_more():
    # p = 0.02 of one comparison is a difference, among the ten of five routers it is none
    values = {"a": {0: 0.0, 1: 0.0, 2: 0.0}, "b": {0: 0.10, 1: 0.13, 2: 0.16}}
    assert smallest(values).behind == ["b"]
    values |= {name: {0: 0.2, 1: 0.4, 2: 0.0 + 0.1 * place} for place, name in enumerate("cde")}
    assert "b" in smallest(values).level


def test_nobody_is_first_where_nothing_is_known():
    assert smallest({"a": {}}) is None
    assert smallest({"a": {}, "b": {0: 1.0}}).first == "b"
