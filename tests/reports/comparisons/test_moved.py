import copy

import pytest

from reports.comparisons.comparison import MovedFigure
from reports.comparisons.moved import moved_figures
from reports.loading.load import load_report_data
from tests.reports.conftest import stat


@pytest.fixture
def moved(small, save):
    """The figures that moved after `change` was made to the entry of linear."""

    def compare(change, before=lambda info: None):
        entries = []
        for edit in (before, change):
            run = copy.deepcopy(small)
            edit(run["benchmarks"][0]["extra_info"])
            entries.append(load_report_data([save(run)]).entries[0])
        return moved_figures("b", *entries)

    return compare


def set_values(metric, values):
    def edit(info):
        info["behaviour"]["metrics"][metric] = stat(values)

    return edit


def test_a_run_has_not_moved_from_itself(moved):
    assert moved(lambda info: None) == ([], 19)


@pytest.mark.parametrize("figure", ["parameters", "flops", "experts_per_token"])
def test_counts_are_exact(moved, figure):
    ((found,), _) = moved(lambda info: info.update({figure: info[figure] + 1}))
    assert found.figure == figure
    assert found.head == found.base + 1


def test_work_that_is_not_known_in_one_run_has_moved(moved):
    ((found,), _) = moved(lambda info: info.update(flops=None))
    assert (found.figure, found.head) == ("flops", None)


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [(1000, 1010, 0), (1000, 1011, 1), (0, 0, 0), (0, 1, 1), (None, 1000, 0), (1000, None, 0)],
)
def test_memory_has_one_per_cent_and_older_files_none(moved, before, after, count):
    found, compared = moved(
        lambda info: info.update(peak_memory=after), before=lambda info: info.update(peak_memory=before)
    )
    assert len(found) == count
    assert compared == (18 if None in (before, after) else 19)


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        ([1.0, 2.0, 3.0], [1.00009, 2.0, 3.0], 0),
        ([1.0, 2.0, 3.0], [1.0002, 2.0, 3.0], 1),
        ([0.0, 0.0, 0.0], [5e-8, 0.0, 0.0], 0),  # a rounding error of what is zero
        ([0.0, 0.0, 0.0], [1e-6, 0.0, 0.0], 1),
        ([None, 1.0, 1.0], [None, 1.0, 1.0], 0),
        ([None, 1.0, 1.0], [1.0, 1.0, 1.0], 1),
    ],
)
def test_metrics_are_compared_seed_by_seed(moved, before, after, count):
    found, _ = moved(set_values("cv", after), before=set_values("cv", before))
    assert len(found) == count


def test_the_seed_that_moved_most_is_shown_even_where_the_means_agree(moved):
    (found, _) = moved(set_values("cv", [1.0, 2.5, 2.5]), before=set_values("cv", [1.0, 2.0, 3.0]))
    assert found == [MovedFigure("b", "cv, seed 12 (2 of 3 seeds)", 2.0, 2.5)]


def test_only_seeds_and_metrics_that_both_have_are_compared(moved):
    def other_seeds(info):
        info["behaviour"]["seeds"] = [1, 2, 3]

    assert moved(other_seeds) == ([], 4)
    assert moved(lambda info: info["behaviour"]["metrics"].pop("cv")) == ([], 18)
