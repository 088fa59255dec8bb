import copy

import pytest

from reports.errors import ReportError
from reports.figures.style import report_style
from reports.format import registry
from reports.loading.load import load_report_data
from reports.page.sections import build_sections
from tests.reports.conftest import LANGUAGE_MODEL, PRECISIONS, ROUTERS, SEEDS, changes, make_language_document, spread


def section(data):
    return next(each for each in build_sections(data) if each.anchor == "precision")


def with_language_model(document):
    """The document with two layers of routers inside a language model."""
    inside = make_language_document(("linear", "hash"), ("inject", "decode"))
    for benchmark in inside["benchmarks"]:
        router = benchmark["extra_info"]["router"]
        compared = {name: changes(0.3 if router == "hash" else 0.004, router) for name in PRECISIONS}
        layers = {f"model.layers.{place}": {"bfloat16": changes(0.001 + 0.002 * place, router)} for place in (2, 5)}
        benchmark["extra_info"]["behaviour"] = {
            "seeds": SEEDS,
            "precision": {"undefined": None, "compared": compared, "layers": layers},
        }
    document["benchmarks"] += inside["benchmarks"]
    document["study"]["language_model"] = LANGUAGE_MODEL
    return document


def rows_of(table):
    return {row[:2]: dict(zip(table.headings, row, strict=True)) for row in map(tuple, table.shown())}


def test_a_row_per_input_that_was_compared_and_router(document, save):
    found = section(load_report_data([save(document)]))
    table, margins = found.tables
    shown, close = rows_of(table), rows_of(margins)
    assert shown.keys() == close.keys()
    inputs = ("random, D = 768", "contextual, D = 384", "in_place, D = 384")
    assert shown.keys() == {(name, router) for name in inputs for router in ROUTERS}
    # mean of 0.009, 0.01 and 0.011: t(2) · 0.001 / √3 = 0.00248
    linear = shown["contextual, D = 384", "linear"]
    assert linear["Tokens changed: bfloat16"] == "1.00 [0.75, 1.25] %"
    assert linear["Flips: bfloat16"] == "0.50 [0.38, 0.62] %"
    assert shown["random, D = 768", "hadamard_unconstrained"]["Tokens changed: bfloat16"].startswith("0.00 [")
    assert close["contextual, D = 384", "linear"]["Margin, median"] == "(2.00 ± 0.10)e-2"
    assert close["contextual, D = 384", "hash"]["Margin, median"] == "–"
    assert "A dash: not defined of hash (it selects by itself: no rule ranks the experts)." in margins.caption
    assert found.notes == (
        "bfloat16: all in bfloat16, against float64 of what there was.",
        "mixed: hidden states in bfloat16, the router in float32.",
        "float32: the control.",
    )


def test_who_decides_otherwise_most_often_is_named_among_equals(document, save):
    (finding,) = section(load_report_data([save(document)])).findings
    assert finding.startswith(
        "In bfloat16, on “contextual”, decides otherwise most often, of the routers that select 2 experts a token: "
        "mlp, 2.00 % of tokens and 1.00 % of assignments; least often: "
    )
    assert "apart, selecting another number: hash, 87.00 %" in finding
    for benchmark in document["benchmarks"]:
        info = benchmark["extra_info"]
        if info["router"] == "linear" and info["behaviour"]["precision"]:
            info["behaviour"]["precision"]["compared"]["bfloat16"]["changed_tokens"] = spread(0.0195, 0.004)
    (finding,) = section(load_report_data([save(document)])).findings
    assert "1.00 % of assignments, not told apart from linear;" in finding


def test_the_headline_stands_in_the_summary(document, save):
    data = load_report_data([save(document)])
    (shown,) = registry.table.of("summary")
    table = shown.build(data)
    row = dict(zip(table.headings, table.shown()[0], strict=True))
    assert row["Flips in bfloat16, “contextual”"] == "0.50 [0.38, 0.62] %"
    assert "on “contextual” (D = 384), over seeds." in table.caption


def test_a_language_model_has_all_layers_and_each(document, save):
    found = section(load_report_data([save(with_language_model(document))]))
    tables = {table.name: table for table in found.tables}
    for name in ("precision-language-model", "precision-margins-language-model"):
        assert [row["router"] for row in tables[name].rows] == ["stock", "linear", "hash"]
    assert tables["precision-layers"].headings == ["Layer", "stock", "linear", "hash"]
    assert tables["precision-layers"].shown()[0] == ["model.layers.2", "0.50 %", "0.50 %", "0.50 %"]
    (plot,) = found.plots
    with report_style():
        assert len([ax for ax in plot.draw().axes if ax.get_visible()]) == 4


def test_a_router_may_be_called_as_the_column_of_layers_is(document, save):
    document = with_language_model(document)
    for benchmark in document["benchmarks"]:
        if benchmark["extra_info"].get("subject") == "language_model" and benchmark["extra_info"]["router"] == "linear":
            benchmark["extra_info"]["router"] = "layer"
    (table,) = (
        table for table in section(load_report_data([save(document)])).tables if table.name == "precision-layers"
    )
    assert table.headings == ["Layer", "stock", "layer", "hash"]
    assert table.shown()[0] == ["model.layers.2", "0.50 %", "0.50 %", "0.50 %"]


def test_files_without_it_read_as_before(document, save):
    for benchmark in document["benchmarks"]:
        del benchmark["extra_info"]["behaviour"]["precision"]
    sections = build_sections(load_report_data([save(document)]))
    assert "Precision: left out, because the files compare no decisions with float64." in sections[-1].left_out


def rounded(value):
    """A stat whose values all are one number."""
    return spread(value, 0.0)


@pytest.mark.parametrize(
    ("precision", "quantity", "stat", "words"),
    [
        ("bfloat16", "changed_tokens", rounded(1.5), "changed_tokens.values[0] is 1.5, not within 0 and 1"),
        ("mixed", "flip_rate", rounded(-0.1), "flip_rate.values[0] is -0.1, not within 0 and 1"),
        ("mixed", "weight_error", rounded(-0.1), "weight_error.values[0] is -0.1, not within 0 and above"),
        ("bfloat16", "flip_rate", rounded(0.0), "flip_rate.values[0] is 0, and changed_tokens.values[0] 0.009"),
        (
            "bfloat16",
            "flip_rate",
            {"mean": 0.1, "sd": None, "values": [0.1]},
            "flip_rate.values has 1 items instead of 3",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(document, save, precision, quantity, stat, words):
    precisions = document["benchmarks"][0]["extra_info"]["behaviour"]["precision"]
    precisions["compared"][precision][quantity] = copy.deepcopy(stat)
    with pytest.raises(ReportError) as error:
        load_report_data([save(document)])
    assert f"behaviour.precision.compared.{precision}.{words}" in str(error.value) or words in str(error.value)


def test_a_precision_that_the_file_does_not_describe_is_refused(document, save):
    del document["study"]["precisions"]["mixed"]
    with pytest.raises(ReportError, match=r"behaviour.precision has 'mixed', none of study.precisions"):
        load_report_data([save(document)])
