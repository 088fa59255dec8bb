"""What all figures share: titles that fit, legends that fit, names at the ends of lines."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from reports.figures.line_ends import spread_out
from reports.figures.style import row_panels, shared_legend, title_of


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.01, 0.1))
@settings(max_examples=60, deadline=None)
def test_names_lie_apart_in_the_order_of_their_lines(places, apart):
    moved = spread_out(sorted(places), apart)
    assert len(moved) == len(places)
    assert all(second - first >= apart * (1 - 1e-9) for first, second in pairwise(moved))
    # As a whole they stay where they were.
    assert sum(moved) == pytest.approx(sum(places), abs=1e-9)


def test_names_that_have_room_stay_where_their_lines_are():
    assert spread_out([0.1, 0.5, 0.9], 0.05) == [0.1, 0.5, 0.9]
    assert spread_out([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])


def test_a_title_is_no_wider_than_its_panel_and_a_name_takes_the_room_that_it_needs():
    assert title_of("a" * 200, 2.0) == "a" * 24 + "…"
    assert title_of("a\x1b", 2.0) == "a�"
    narrow, wide = (row_panels(1, [name], width=2.0, row=0.3)[0] for name in ("linear", "x" * 200))
    assert wide.get_figwidth() > narrow.get_figwidth() + 1


def test_a_legend_has_as_many_columns_as_there_is_room_for():
    figure = Figure(figsize=(4, 3))
    ax = figure.subplots()
    for place in range(6):
        ax.plot([place], label=f"series {place}")
    shared_legend(figure, [ax], columns=4)
    assert figure.legends[0]._ncols == 2
