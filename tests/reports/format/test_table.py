from markupsafe import Markup

from reports.format.table import Column, Table, text_column


def picture(value):
    return Markup(f"<svg>{value}</svg>")


def table(*rows):
    columns = (text_column("Input", "input"), text_column("Router", "router"))
    return Table("t", "T", "c", rows, (*columns, Column("Time", ("time",), str, picture=picture, why="time_missing")))


def test_a_cell_has_the_number_to_sort_by_its_picture_and_why_there_is_none():
    known, unknown = table(
        {"input": "a", "router": "x", "time": 1.25, "time_missing": None},
        {"input": "a", "router": "y", "time": None, "time_missing": "not measured"},
    ).cells()
    assert (known[2].text, known[2].order, known[2].picture, known[2].why) == ("1.25", 1.25, "<svg>1.25</svg>", "")
    assert (unknown[2].order, unknown[2].why) == (None, "not measured")
    assert known[1].order is None


def test_reasons_stand_once_under_their_heading():
    row = {"input": "a", "router": "y", "time": None, "time_missing": "not measured"}
    assert table(row, row, row | {"time_missing": "failed"}).reasons == ("Time: not measured; failed.",)
    assert table(row | {"time_missing": None}).reasons == ()


def test_the_column_of_routers_names_the_rows_or_else_the_first():
    row = {"input": "a", "router": "y", "time": 1.0, "time_missing": None}
    assert table(row).header == 1
    assert Table("t", "T", "c", [row], (Column("Time", ("time",)),)).header == 0
