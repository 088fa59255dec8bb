import pytest

from reports.comparisons.comparison import Change, MovedFigure, Row, Side
from reports.comparisons.words import cells, counted, moved_cells, note, side
from reports.judging.intervals import Interval

ROW = Row("router | random | mlp", 766.4, 2071.0, Interval(2.7022, 2.69, 2.71), 0.004, Change.SLOWER, expected=True)


def test_a_row_in_words():
    assert cells(ROW) == [
        "router | random | mlp", "766 µs", "2.07 ms", "2.702 [2.690, 2.710]", "±0.4 %", "SLOWER (expected)"
    ]  # fmt: skip


def test_a_row_that_was_not_timed():
    assert cells(Row("x" * 200, None, None, None, None, Change.FAILED))[0] == "x" * 99 + "…"
    assert cells(Row("x", None, None, None, None, Change.FAILED))[1:] == ["–", "–", "–", "–", "FAILED"]


@pytest.mark.parametrize(
    ("reason", "first_look", "words"),
    [
        (None, None, None),
        ("The time was up.", None, "The time was up"),
        (None, Interval(1.1, 1.05, 1.15), "in the first look 1.100 [1.050, 1.150]"),
        ("Slow.", Interval(1.1, None, None), "Slow; in the first look 1.100"),
    ],
)
def test_what_a_row_says_beside_its_numbers(reason, first_look, words):
    assert note(Row("b", 1.0, 1.0, None, None, Change.SAME, reason, first_look)) == words


@pytest.mark.parametrize(
    ("moved", "words"),
    [
        (MovedFigure("b", "parameters", 6144, 6152, False), ["b", "parameters", "6,144", "6,152", "not expected"]),
        (MovedFigure("b", "cv", None, 0.2), ["b", "cv", "–", "0.2", ""]),
        # Six digits would show the same number twice.
        (MovedFigure("b", "cv", 1.00000001, 1.00000002, True), ["b", "cv", "1.00000001", "1.00000002", "expected"]),
    ],
)
def test_a_figure_that_moved(moved, words):
    assert moved_cells(moved) == words


def test_a_side_has_a_short_commit_or_none():
    assert side(Side("main", "1a2b3c4d5e6f", "A\nsubject ")) == ("main", "1a2b3c4d", "A subject")
    assert side(Side("run.json", None, "2026-01-02")) == ("run.json", "", "2026-01-02")


def test_one_is_not_many():
    assert [counted(n, "row", "rows") for n in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
