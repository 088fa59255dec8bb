import csv
import io

import pytest

from reports.format.numbers import fixed
from reports.format.render import align, to_csv, to_latex, to_markdown, to_text
from reports.format.table import Column, Table, text_column


def table(name="linear", value=1.23456):
    return Table(
        name="sample",
        title="A title",
        caption="A caption at 95 %",
        rows=[{"router": name, "value": value}],
        columns=(text_column("Router", "router"), Column("Value", ("value",), fixed(2))),
        findings=("A finding.",),
    )


def test_markdown_keeps_its_columns_with_a_pipe_in_a_name():
    lines = to_markdown(table("a|b")).splitlines()
    assert lines[2:5] == ["| Router | Value |", "| --- | ---: |", r"| a\|b | 1.23 |"]
    assert "- A finding." in lines


def test_csv_holds_what_was_measured_in_full():
    (row,) = csv.DictReader(io.StringIO(to_csv(table('a,"b"\n'))))
    assert row == {"router": 'a,"b" ', "value": "1.23456"}


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_text_of_a_csv_is_a_formula_and_numbers_stay_numbers(name):
    (row,) = csv.DictReader(io.StringIO(to_csv(table(name, -1.5))))
    assert row["router"].startswith("'")
    assert row["value"] == "-1.5"


def test_what_cannot_be_seen_is_not_in_a_csv():
    assert to_csv(table("a\x00b\u202ec")).splitlines()[1] == "a b c,1.23456"


def test_latex_is_a_whole_float():
    text = to_latex(table("a_b"))
    assert r"\begin{tabular}{lr}" in text
    assert r"a\_b & 1.23 \\" in text
    assert r"95 \%" in text
    assert text.count(r"\begin") == text.count(r"\end")


def test_text_is_aligned_and_a_missing_number_is_a_dash():
    assert to_text(table()).splitlines() == ["Router  Value", "linear   1.23"]
    assert to_text(table(value=None)).splitlines()[1] == "linear      –"


def test_columns_are_aligned_and_nothing_in_them_moves_the_cursor():
    rows = [["name", "value"], ["a\x1b[2J\n", "1.5"], ["b", "10.25"]]
    assert align(rows, [False, True]).split("\n") == ["name    value", "a [2J     1.5", "b       10.25"]
