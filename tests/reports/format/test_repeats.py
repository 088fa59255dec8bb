"""What rows repeat is said once, and nothing that differs is lost."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from reports.format.numbers import fixed, some_of
from reports.format.repeats import say_once
from reports.format.table import Column, Table, text_column, verdict_column

COLUMNS = (
    text_column("Router", "router"),
    text_column("Kind", "kind"),
    Column("Time", ("time",), fixed(1)),
    Column("Noise", ("noise",), fixed(2)),
    verdict_column("Verdict", "verdict"),
)


def table(rows, columns=COLUMNS):
    fields = ("router", "kind", "time", "noise", "verdict")
    return Table("t", "Title", "Caption.", [dict(zip(fields, row, strict=True)) for row in rows], columns)


def test_a_column_of_one_value_moves_to_the_caption_and_stays_in_the_csv():
    said = say_once(
        table([("a", "x", 1.0, 0.97, "holds"), ("b", "x", 2.0, 0.97, "holds"), ("c", "y", 3, 0.97, "holds")])
    )
    assert said.headings == ["Router", "Kind", "Time", "Verdict"]
    assert said.caption == "Caption. The same in every row: Noise 0.97."
    assert list(said.frame["noise"]) == [0.97] * 3


def test_what_no_row_knows_is_said_so():
    said = say_once(table([(name, "x", time, None, None) for name, time in (("a", 1.0), ("b", 2.0), ("c", 3.0))]))
    assert said.headings == ["Router", "Time", "Verdict"]
    assert said.caption.endswith("The same in every row: Kind x. Of no row known or defined: Noise.")


def test_two_rows_repeat_nothing():
    two = table([("a", "x", 1.0, 0.97, "holds"), ("b", "x", 1.0, 0.97, "holds")])
    assert say_once(two) is two


def test_the_models_own_gates_have_a_start_of_their_own():
    columns = (text_column("Router", "router"), text_column("Start", "start"), Column("Time", ("time",), fixed(1)))
    rows = [("stock", "original", 1.0), ("a", "random", 2.0), ("b", "random", 3.0)]
    said = say_once(
        Table("t", "T", "C.", [dict(zip(("router", "start", "time"), row, strict=True)) for row in rows], columns)
    )
    assert said.headings == ["Router", "Time"]
    assert said.caption == "C. The same in every row: Start random."


def test_rows_that_differ_in_the_router_alone_are_one_for_each_other_text():
    rows = [(name, "copied", 1.0, 0.1, "no") for name in "abc"] + [
        (name, "own", float(ord(name)), 0.2, "no") for name in "abc"
    ]
    said = say_once(table(rows))
    assert [(row["router"], row["kind"]) for row in said.rows] == [
        ("all 3 routers", "copied"), ("a", "own"), ("b", "own"), ("c", "own"),
    ]  # fmt: skip
    assert list(said.whole_frame["router"]) == [*"abc", *"abc"]  # the CSV has each by itself


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([1.0, 2.0]), st.sampled_from([0.1, None])), max_size=6)
)
@settings(max_examples=40, deadline=None)
def test_every_cell_that_is_gone_is_in_the_caption_or_in_a_merged_row(cells):
    before = table([(f"r{place}", kind, time, noise, "v") for place, (kind, time, noise) in enumerate(cells)])
    after = say_once(before)
    assert len(after.rows) <= len(before.rows)
    for column in set(before.columns) - set(after.columns):
        assert column.heading in after.caption
        assert not column.is_verdict
    assert say_once(replace(after, caption="")).rows == after.rows


def test_most_of_many_names_are_said_by_those_that_lack():
    everyone = list("abcdefg")
    assert some_of(everyone, everyone) == "all 7 routers"
    assert some_of(everyone[:5], everyone) == "all but f and g"
    assert some_of(everyone[:3], everyone, "others") == "a, b and c"
    assert some_of([], everyone) == "none"
    assert some_of(["a", "b"], ["a", "b"]) == "a and b"
