from hypothesis import given
from hypothesis import strategies as st

from reports.comparisons.comparison import Change, Row, ordered
from reports.judging.intervals import Interval


def row(change, estimate=None, benchmark="b"):
    ratio = None if estimate is None else Interval(estimate, None, None)
    return Row(benchmark, None, None, ratio, None, change)


rows = st.lists(
    st.builds(row, st.sampled_from(Change), st.none() | st.floats(1e-3, 1e3), st.text(max_size=5)), max_size=30
)


def test_failures_come_first_and_the_slowest_of_a_kind_before_the_others():
    given_rows = [
        row(Change.SAME, 1.0), row(Change.FASTER, 0.8), row(Change.UNCERTAIN, 1.1), row(Change.SLOWER, 1.05),
        row(Change.FAILED), row(Change.SLOWER, 1.3), row(Change.FAILED, 1.2), row(Change.FASTER, 0.9),
    ]  # fmt: skip
    assert [(r.change.value, r.ratio and r.ratio.estimate) for r in ordered(given_rows)] == [
        ("FAILED", 1.2), ("FAILED", None), ("SLOWER", 1.3), ("SLOWER", 1.05), ("UNCERTAIN", 1.1), ("FASTER", 0.9),
        ("FASTER", 0.8), ("SAME", 1.0),
    ]  # fmt: skip


@given(rows)
def test_ordering_keeps_every_row_and_does_not_depend_on_how_they_came(unordered):
    found = ordered(unordered)
    assert sorted(map(repr, found)) == sorted(map(repr, unordered))
    assert ordered(reversed(unordered)) == found
    ranks = [list(Change).index(each.change) for each in found]
    assert ranks == sorted(ranks)
