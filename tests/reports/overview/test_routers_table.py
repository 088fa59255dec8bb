import pytest

from reports.errors import MissingDataError
from reports.format.render import to_csv
from reports.judging.intervals import Interval
from reports.overview.headline import row_ids, some
from reports.overview.interval_bar import interval_bar
from reports.overview.pareto import pareto
from reports.overview.routers_table import routers_table
from tests.reports.conftest import make_document


def rows(table):
    return {cells[table.header]: dict(zip(table.headings, cells, strict=True)) for cells in table.shown()}


def test_a_row_for_each_router(tuned):
    table = routers_table(tuned)
    shown = rows(table)
    assert list(shown)[:3] == ["stock", "linear", "attention"]
    assert shown["mlp"] == {
        "Router": "mlp",
        "Experts": "2",
        "Time / linear": "4.70 [4.56, 4.84]",
        "One token": "4.23 [4.10, 4.36]",
        "Largest load": "23.8 ± 3.8 %",
        "Flips in bfloat16": "1.00 %",
        "Decode / own gates": "1.94 [1.92, 1.96]",
        "Perplexity": "49.01 ± 0.15 (distilled)",
        "Over floor": "–",
        "Verdict": "paper 4/6",
    }
    assert shown["hash"]["Verdict"].startswith("not ranked, paper ")
    assert shown["hadamard"]["Verdict"].startswith("fastest")
    assert table.row_ids[:2] == ("router-stock", "router-linear")


def test_a_dash_has_its_reason(data):
    table = routers_table(data)
    assert "Over floor: no floor was measured." in table.reasons
    assert "over_floor_missing" in to_csv(table)


def test_a_column_of_dashes_alone_is_left_out(data, load, pristine, pristine_tuning):
    assert "Perplexity" not in [column.heading for column in routers_table(data).columns]
    few = {**pristine_tuning, "runs": [run for run in pristine_tuning["runs"] if run["router"] == "linear"]}
    assert "Perplexity" in [column.heading for column in routers_table(load(pristine, few)).columns]


def test_fine_tuning_alone_has_rows(load, pristine_tuning):
    shown = rows(routers_table(load(pristine_tuning)))
    assert shown["linear"]["Perplexity"].endswith("(distilled)")
    assert {row["Time / the baseline"] for row in shown.values()} == {"–"}


def test_a_router_that_was_not_measured_alone_has_a_row_and_no_verdict(load, pristine):
    document = make_document(("linear", "mlp"))
    document["benchmarks"] = [
        b
        for b in document["benchmarks"]
        if (b["extra_info"]["router"], b["extra_info"]["scenario"]) != ("mlp", "router")
    ]
    shown = rows(routers_table(load(document)))
    assert shown["mlp"]["Time / linear"] == "–"
    assert shown["mlp"]["One token"] == "4.23 [4.10, 4.36]"


def test_ids_are_unique_and_hold_no_space():
    names = ["a b", "a-b", "a_b", "<b>", "é", "\u202e", "x" * 200, "x" * 199]
    ids = row_ids(names)
    assert len(set(ids)) == len(names)
    assert all(each.isascii() and " " not in each for each in ids)


def test_many_names_are_some():
    assert some([]) == ""
    assert some("abc") == "a, b and c"
    assert some("abcdefg") == "a, b, c, d, e, f and g"
    assert some("abcdefgh") == "a, b, c, d, e, f and 2 more"


def test_a_picture_of_an_interval_is_on_the_scale_of_all():
    bar = interval_bar([Interval(1.0, 1.0, 1.0), Interval(4.0, 2.0, 16.0)])
    # logarithms from 1 to 16 over 80 points from 4 on: 4 is in the middle, 2 a quarter of the way
    assert 'cx="44.0"' in bar(4.0, 2.0, 16.0)
    assert "M24.0 7H84.0" in bar(4.0, 2.0, 16.0)
    assert 'd="M4.0 0V14"' in bar(4.0, 2.0, 16.0)
    assert "whisker" not in bar(4.0, None, None)
    assert bar(None, None, None) == ""
    assert bar(float("nan"), None, None) == ""


def test_trade_offs_have_a_panel_for_each_quality(data, tuned):
    assert pareto(data).title == "Time against evenness"
    assert pareto(tuned).title == "Time against evenness and perplexity"
    assert len(pareto(tuned).draw().axes) == 2


def test_one_router_trades_nothing_and_forty_are_drawn(load, many):
    with pytest.raises(MissingDataError, match="no two routers"):
        pareto(load(make_document(("linear",))))
    data = load(many)
    named = [text.get_text() for text in pareto(data).draw().axes[0].texts]
    assert len(named) == len(set(named)) <= 40
    assert len(rows(routers_table(data))) == 40
