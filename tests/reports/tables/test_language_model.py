from functools import partial

import pytest

from reports.errors import MissingDataError
from reports.loading.load import load_report_data
from reports.tables.language_model import times as language_model


@pytest.fixture
def build(language_document, save):
    return lambda builder: builder(load_report_data([save(language_document)]))


def cells(table, router, start="random"):
    (shown,) = [shown for shown in table.shown() if shown[:2] == [router, start]]
    return dict(zip(table.headings, shown, strict=True))


def test_the_summary_has_a_column_per_scenario(build):
    table = build(language_model.summary)
    assert table.headings == [
        "Router",
        "Start",
        "Parameters",
        "Experts",
        "Inject",
        "Prefill",
        "Decode",
        "Fine-tuning step",
    ]
    assert len(table.frame) == 10
    # attention: 1 + 0.05 · 2.8
    assert cells(table, "attention")["Prefill"] == "1.140 [1.129, 1.151]"
    assert cells(table, "stock", "original")["Decode"] == "1.000 [0.990, 1.010]"
    assert "derived from a dense model by upcycling; not Qwen1.5-MoE" in table.whole_caption


def test_a_router_that_a_scenario_lacks_is_a_dash_and_a_new_scenario_a_column(build, language_document):
    entries = [b["extra_info"] for b in language_document["benchmarks"]]
    language_document["benchmarks"] = [
        b
        for b in language_document["benchmarks"]
        if (b["extra_info"]["scenario"], b["extra_info"]["router"]) != ("decode", "mlp")
    ]
    next(i for i in entries if (i["scenario"], i["router"]) == ("prefill", "hash"))["scenario"] = "<b>speculative</b>"
    record = {"label": "Speculative", "description": "drafting", "subject": "language_model"}
    language_document["study"]["scenarios"]["<b>speculative</b>"] = record
    table = build(language_model.summary)
    assert table.headings[-1] == "Speculative"
    assert cells(table, "mlp")["Decode"] == "–"
    assert cells(table, "hash")["Prefill"] == "–"


def test_a_scenario_shows_time_memory_and_noise(build):
    table = build(partial(language_model.scenario, "prefill"))
    shown = cells(table, "attention")
    # 1.1 s · 1.14 over 512 tokens
    assert (shown["Time of a call"], shown["Per token"]) == ("1.25 s", "2.45 ms")
    assert shown["Standing"] == "slower"
    assert shown["Peak memory (MiB)"] == "12.0"
    assert "Reading 4 × 128 tokens without a cache" in table.caption
    assert "10 layers of 20 experts, top 8, hidden size 576." in table.caption
    assert (shown["Experts"], cells(table, "hash")["Experts"]) == ("8", "1")
    assert table.findings == (
        "Inside a language model, prefill, of the routers that select 8 experts a token: level with stock: none; "
        "cheapest: hadamard, 1.030 times stock; most expensive: mlp_hadamard, 1.385 times stock; "
        "apart, selecting another number: hash, 1.016 times stock (1 expert) and hadamard_unconstrained, 1.031 times "
        "stock (20 experts).",
    )


def test_an_injection_has_no_tokens(build):
    table = build(partial(language_model.scenario, "inject"))
    shown = cells(table, "linear")
    assert (shown["Time of a call"], shown["Per token"], shown["Peak memory (MiB)"]) == ("18.0 ms", "–", "–")
    assert "Replacing the routers of all layers, and putting the old ones back. 10 layers of 20" in table.caption


def test_where_all_are_level_nobody_is_ranked(build, language_document):
    for benchmark in language_document["benchmarks"]:
        timing = benchmark["extra_info"]["timing"]
        if benchmark["extra_info"]["router"] != "stock":
            # of the same geometric mean, and too far apart to tell
            timing["process_us"] = [timing["us_per_call"] * factor for factor in (4, 1 / 4, 1, 8, 1 / 8)]
            estimate = timing["ratio"]["estimate"]
            timing["ratio"] = {"estimate": estimate, "low": estimate / 10, "high": estimate * 10}
    table = build(partial(language_model.scenario, "decode"))
    assert table.findings[0].startswith(
        "Inside a language model, decode, of the routers that select 8 experts a token: all are level with stock; "
        "apart, selecting another number: hash"
    )
    assert "Decoding one token, batch of 4, with 128 tokens in the cache." in table.caption


def test_where_a_row_is_missing_nobody_is_the_cheapest(build, language_document):
    missing = ("decode", "mlp")
    language_document["benchmarks"] = [
        b
        for b in language_document["benchmarks"]
        if (b["extra_info"]["scenario"], b["extra_info"]["router"]) != missing
    ]
    assert build(partial(language_model.scenario, "decode")).findings == (
        "Inside a language model, decode: nobody is named, mlp was not measured.",
    )
    assert "cheapest: hadamard" in build(partial(language_model.scenario, "prefill")).findings[0]


def test_stock_alone_concludes_nothing(build, language_document):
    language_document["benchmarks"] = [
        b for b in language_document["benchmarks"] if b["extra_info"]["router"] == "stock"
    ]
    assert build(partial(language_model.scenario, "decode")).findings == ()


@pytest.mark.parametrize("builder", [language_model.summary, partial(language_model.scenario, "decode")])
def test_without_such_benchmarks_a_table_says_so(document, save, builder):
    with pytest.raises(MissingDataError, match="inside a language model"):
        builder(load_report_data([save(document)]))
