"""Benchmarks inside a language model, from the file to the comparison of two runs."""

import copy

import pytest

from reports.comparisons.stored import compare
from reports.errors import MissingDataError, ReportError
from reports.loading.load import load_report_data
from tests.reports.conftest import set_processes


def infos(document, **wanted):
    return [
        b["extra_info"]
        for b in document["benchmarks"]
        if all(b["extra_info"].get(key) == value for key, value in wanted.items())
    ]


def both(document, language_document):
    """A file that holds benchmarks of routers and inside a language model."""
    data = document["study"] | {"language_model": language_document["study"]["language_model"]}
    return document | {"benchmarks": document["benchmarks"] + language_document["benchmarks"], "study": data}


def test_entries_of_both_subjects_come_through(document, language_document, save):
    data = load_report_data([save(both(document, language_document))])
    assert len(data.entries) == len(document["benchmarks"])
    prefill = data.inside("prefill")
    assert [entry.router for entry in prefill[:3]] == ["stock", "linear", "attention"]
    assert prefill[0].timing.baseline == "stock"
    assert prefill[0].sizes["layers"] == 10
    inject = data.inside("inject")[1]
    assert (inject.timing.ns_per_token, inject.peak_memory) == (None, None)
    assert inject.sizes.keys() == {"layers", "hidden_size", "num_experts", "top_k"}


def test_a_file_of_them_alone_is_a_study_and_one_without_them_says_so(document, language_document, save):
    assert load_report_data([save(language_document)]).entries == ()
    with pytest.raises(MissingDataError, match="“prefill” inside a language model"):
        load_report_data([save(document)]).inside("prefill")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (
            "subject",
            "image_model",
            "subject is 'image_model'; this version reads 'language_model', 'peer', or no subject",
        ),
        ("subject", 3, "subject is 3; this version reads 'language_model', 'peer', or no subject"),
        ("router", None, "router is not a string"),
        ("initialise", 1, "initialise is not a string"),
        ("layers", -1, "layers is not a count"),
        ("parameters", "many", "parameters is not a number"),
        ("peak_memory", 0.5, "peak_memory is not a count"),
        ("timing", {}, "timing has no field"),
    ],
)
def test_a_wrong_value_is_named(language_document, save, field, value, words):
    language_document["benchmarks"][1]["extra_info"][field] = value
    with pytest.raises(ReportError) as refusal:
        load_report_data([save(language_document)])
    assert words in str(refusal.value)
    assert "run.json: benchmarks[1].extra_info" in str(refusal.value)


def test_the_same_one_twice_is_refused_and_another_start_is_another(language_document, save):
    twin = copy.deepcopy(language_document["benchmarks"][1])
    language_document["benchmarks"].append(twin)
    with pytest.raises(ReportError, match="holds language_model / inject / linear / random twice"):
        load_report_data([save(language_document)])
    twin["extra_info"]["initialise"] = "distilled"
    inject = load_report_data([save(language_document)]).inside("inject")
    assert [(e.router, e.initialise) for e in inject[1:3]] == [("linear", "random"), ("linear", "distilled")]


def test_two_language_models_are_refused(language_document, save):
    first = save(language_document, "first.json")
    language_document["study"]["language_model"]["sha256"] = "00"
    second = save(language_document, "second.json")
    with pytest.raises(ReportError, match=r"second\.json: study\.language_model\.sha256 is '00'"):
        load_report_data([first, second])


def test_a_file_without_benchmarks_inside_may_name_any_language_model(document, language_document, save):
    first = save(language_document, "first.json")
    document["study"]["language_model"] = {"name": "other"}
    data = load_report_data([first, save(document, "second.json")])
    assert len(data.language) == len(language_document["benchmarks"])


def test_the_later_file_wins(language_document, save):
    first = save(language_document, "first.json")
    (info,) = infos(language_document, scenario="decode", router="mlp")
    set_processes(info, [1.0] * 5)
    language_document["benchmarks"] = [b for b in language_document["benchmarks"] if b["extra_info"] is info]
    data = load_report_data([first, save(language_document, "second.json")])
    assert next(e for e in data.inside("decode") if e.router == "mlp").timing.us_per_call == 1.0
    assert "second.json comes later and holds 1 measurement(s)" in data.remarks[0]


def test_two_runs_are_compared(language_document, save):
    base = load_report_data([save(language_document, "a.json")])
    (info,) = infos(language_document, scenario="prefill", router="mlp")
    set_processes(info, [2 * us for us in info["timing"]["process_us"]])
    info["timing"]["ratio"] = {end: 2 * ratio for end, ratio in info["timing"]["ratio"].items()}
    info["parameters"] += 1
    language_document["study"]["language_model"]["sha256"] = "00"
    comparison = compare(base, load_report_data([save(language_document, "b.json")]), threshold=0.05)
    first = comparison.rows[0]
    assert (first.benchmark, str(first.change)) == ("language_model | prefill | random | mlp", "SLOWER?")
    assert [(moved.figure, moved.head - moved.base) for moved in comparison.moved] == [("parameters", 1)]
    assert comparison.notices[0].startswith("Not the same in both runs: the language model.")


def test_other_sizes_are_not_compared(language_document, save):
    base = load_report_data([save(language_document, "a.json")])
    (info,) = infos(language_document, scenario="prefill", router="mlp")
    info["num_tokens"] = info["timing"]["ns_per_token"] = None
    info["timing"]["tokens_per_call"] = 0
    comparison = compare(base, load_report_data([save(language_document, "b.json")]), threshold=0.05)
    assert [each.reason for each in comparison.excluded] == ["num_tokens 512 / None"]
