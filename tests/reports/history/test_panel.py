"""Where runs stand."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from reports.format.svg import linear_axis, log_axis
from reports.history.panel import positions

START = datetime(2026, 1, 1, tzinfo=UTC)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10**7), max_size=30))
def test_runs_stand_in_order_and_not_on_one_another(seconds):
    times = [START + timedelta(seconds=second) for second in sorted(seconds)]
    places = positions(times)
    assert all(0 <= place <= 1 for place in places)
    gaps = [b - a for a, b in pairwise(places)]
    assert all(gap > 0.3 / len(places) for gap in gaps)


def test_distant_runs_stand_by_their_times():
    places = positions([START, START + timedelta(days=4), START + timedelta(days=10)])
    assert places == [0.0, 0.4, 1.0]
    assert positions([START]) == [0.5]


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-9, 1e9), st.floats(1.0, 1e9), st.integers(2, 6))
@example(1.0, 1.0000000000000002, 2)
@example(1e9, 1.0000002, 3)
def test_an_axis_has_a_few_round_numbers(low, factor, most):
    for axis in (log_axis([low, low * factor], 0, 100), linear_axis([low, low * factor], 0, 100)):
        ticks = axis.ticks(most)
        assert len(ticks) <= most + 1
        assert all(-1e-6 <= axis(tick) <= 100 + 1e-6 for tick in ticks)
        assert axis(low) < 50.1 or factor == 1.0


def test_axes_of_nothing_and_of_one_value():
    assert log_axis([], 0, 100).ticks()
    assert linear_axis([0.0], 0, 100)(0.0) == 50.0
    assert linear_axis([], 0, 100).ticks()
