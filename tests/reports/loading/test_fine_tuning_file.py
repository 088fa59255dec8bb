import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.errors import ReportError
from reports.loading.fine_tuning_file import differing_field
from reports.loading.load import load_benchmarks, load_report_data
from reports.page.run_summary import statement
from reports.page.sections import build_sections


def at(document, path):
    """The container that holds the last step of a path, and that step."""
    for step in path[:-1]:
        document = document[step]
    return document, path[-1]


def refusal(save, *documents):
    files = [save(document, f"file{place}.json") for place, document in enumerate(documents)]
    with pytest.raises(ReportError) as error:
        load_report_data(files)
    words = str(error.value)
    assert "\n" not in words
    assert f"file{len(documents) - 1}.json: " in words
    return words


def test_a_file_comes_through_typed(tuning, save):
    data = load_report_data([save(tuning)])
    variants = data.tuned.variants
    assert [(v.router, v.initialise) for v in variants[:3]] == [
        ("stock", "original"),
        ("linear", "random"),
        ("linear", "distilled"),
    ]
    assert len(data.tuned.runs) == 19 * 2 * 3
    linear = variants[1]
    assert linear.trained[2].log[0].loss == pytest.approx(4.02)
    assert linear.trained.steps == (10, 20, 30, 40, 50)
    assert linear.frozen.keys() == {0, 1, 2}
    assert data.tuned.original == 60.0
    assert (data.entries, data.language, data.remarks) == ((), (), ())


def test_files_of_both_kinds_come_in_any_order(document, tuning, save):
    bench, tuned = save(document, "bench.json"), save(tuning, "tuned.json")
    for files in ([bench, tuned], [tuned, bench]):
        data = load_report_data(files)
        assert data.find("router", "random")["mlp"].source == 0
        assert len(data.tuned.runs) == 114
        assert [source.file for source in data.sources] == [str(bench), str(tuned)]


def test_runs_of_several_files_merge_and_the_later_wins(tuning, save):
    whole = save(tuning, "whole.json")
    later = tuning | {"runs": [run for run in tuning["runs"] if run["router"] == "mlp"][:2]}
    later["runs"][0]["perplexity"]["after"] = 1.5
    later["runs"].append(dict(later["runs"][0], seed=9))
    data = load_report_data([whole, save(later, "later.json")])
    assert len(data.tuned.runs) == 115
    mlp = next(v for v in data.tuned.variants if (v.router, v.initialise) == ("mlp", "random"))
    assert mlp.trained[0].perplexity.after == 1.5
    assert mlp.trained.keys() == {0, 1, 2, 9}
    (remark,) = data.remarks
    assert remark.startswith("later.json comes later and holds 2 fine-tuning run(s)")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("model", "sha256"), "00", "model.sha256 is '00', and 'efef"),
        (("model", "layers"), [2], "model.layers is [2]"),
        (("text", "held_out_windows"), 7, "text.held_out_windows is 7, and 10 in "),
        (("settings", "learning_rate"), 0.1, "settings.learning_rate is 0.1, and 0.0003 in "),
        (("settings", "quick"), True, "settings.quick is True, and False in "),
        (("settings", "newer"), 1, "settings.newer is 1, and None in "),
    ],
)
def test_another_model_text_or_setting_is_refused(tuning, save, path, value, words):
    other = json.loads(json.dumps(tuning))
    container, key = at(other, path)
    container[key] = value
    said = refusal(save, tuning, other)
    assert words in said
    assert "a table may not mix the two" in said


def test_how_a_model_was_asked_for_makes_it_no_other_model(tuning, save):
    other = json.loads(json.dumps(tuning))
    other["model"] |= {"requested": "/cache/upcycled", "note": None}
    assert len(load_report_data([save(tuning, "a.json"), save(other, "b.json")]).tuned.runs) == 114


def test_each_run_keeps_the_original_of_its_own_file(tuning, save):
    other = json.loads(json.dumps(tuning))
    other["original"]["perplexity"] = 61.0
    other["runs"] = other["runs"][:1]
    data = load_report_data([save(tuning, "a.json"), save(other, "b.json")])
    assert {run.original for run in data.tuned.runs} == {60.0, 61.0}
    assert data.tuned.original == 61.0


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("schema",), 2, "schema is 2; this version reads schema 1"),
        (("runs",), [], "runs holds no run"),
        (("runs",), {}, "runs is not a list"),
        (("model", "name"), 7, "model.name is not a string: 7"),
        (("model", "note"), ["x"], "model.note is not a string"),
        (("text", "train_lines"), 1.5, "text.train_lines is not a count"),
        (("settings", "steps"), "many", "settings.steps is not a number"),
        (("settings", "calibration_windows"), "all", "settings.calibration_windows is not a number"),
        (("settings", "quick"), "no", "settings.quick is not true or false"),
        (("original", "perplexity"), 0, "original.perplexity is below 1: 0"),
        (("runs", 0, "seed"), -1, "runs[0].seed is not a count"),
        (("runs", 0, "router"), None, "runs[0].router is not a string"),
        (
            ("runs", 0, "router_training"),
            "both",
            "'both', not one of trained, frozen, untrained",
        ),
        (("runs", 1, "losses", 2, "loss"), "low", "runs[1].losses[2].loss is not a number"),
        (("runs", 1, "losses", 2, "step"), 20, "runs[1].losses[2].step is 20, not after 20"),
        (("runs", 0, "perplexity", "before"), -3, "runs[0].perplexity.before is below 1: -3"),
        (("runs", 0, "agreement", "after"), 1.5, "runs[0].agreement.after is not between 0 and 1: 1.5"),
        (("runs", 0, "perplexity"), None, "runs[0].perplexity is not an object"),
    ],
)
def test_a_wrong_value_is_named(tuning, save, path, value, words):
    container, key = at(tuning, path)
    container[key] = value
    assert words in refusal(save, tuning)


@pytest.mark.parametrize(
    "path", [("schema",), ("model",), ("text",), ("settings", "lora_rank"), ("runs",), ("runs", 3, "losses")]
)
def test_a_missing_field_is_named(tuning, save, path):
    container, key = at(tuning, path)
    del container[key]
    assert f"has no field {key!r}" in refusal(save, tuning)


def test_a_run_twice_in_a_file_is_refused(tuning, save):
    tuning["runs"].append(tuning["runs"][0])
    assert "holds stock / original / seed 0 / trained twice" in refusal(save, tuning)


def test_seeds_beyond_a_floats_digits_stay_apart(tuning, save):
    tuning["runs"] = [dict(run, seed=2**62 + run["seed"]) for run in tuning["runs"]]
    assert load_report_data([save(tuning)]).tuned.variants[0].seeds == {2**62, 2**62 + 1, 2**62 + 2}


def test_what_does_not_exist_is_none(tuning, save):
    run = tuning["runs"][0]
    run |= {"losses": [], "perplexity": {"before": None, "after": None}, "agreement": {"before": 0.5}, "seconds": None}
    tuning["runs"][1]["losses"][0] = {"step": 10, "loss": None}
    tuning["original"]["perplexity"] = None
    data = load_report_data([save(tuning)])
    first, second = data.tuned.runs[:2]
    assert (first.log, first.perplexity.before, first.agreement.after, first.seconds) == ((), None, None, None)
    assert (second.log[0].loss, second.log[0].max_violation) == (None, None)
    assert data.tuned.original is None


def test_a_comparison_of_benchmarks_takes_no_fine_tuning(tuning, save):
    with pytest.raises(ReportError, match=r"run\.json: is a fine-tuning \(for `python -m reports`\), not a file of"):
        load_benchmarks(save(tuning))


STRANGE = (None, True, -1, 0, 1.5, 1e300, 2**70, "", "x", "{}", [], [1], {}, {"a": 1})


def leaves(value, path=()):
    """The paths to all values of a document."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from leaves(child, (*path, key))


@settings(max_examples=40)
@given(st.data())
def test_whatever_stands_in_a_field_is_refused_in_one_line_or_shown(pristine_tuning, tmp_path_factory, data):
    whole = json.loads(json.dumps(pristine_tuning))
    whole["runs"] = [run for run in whole["runs"] if run["router"] in ("stock", "linear", "attention")][:20]
    path = data.draw(st.sampled_from([path for path in leaves(whole) if path]))
    container, key = at(whole, path)
    container[key] = data.draw(st.sampled_from(STRANGE))
    file = tmp_path_factory.mktemp("strange") / "run.json"
    file.write_text(json.dumps(whole), encoding="utf-8")
    data, refused = None, ""
    try:
        data = load_report_data([file])
    except ReportError as error:
        refused = str(error)
    if data is None:
        assert refused.startswith(f"{file}: ")
        assert "\n" not in refused
        return
    sections = build_sections(data)
    assert statement(data)
    assert all(isinstance(cell, str) for s in sections for table in s.tables for row in table.shown() for cell in row)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2)),
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2)),
)
def test_objects_without_a_differing_field_are_equal(first, second):
    field = differing_field(first, second)
    if field is None:
        assert first == second
    else:
        assert first.get(field) != second.get(field)
        assert differing_field(first, second, besides=tuple("abcd")) is None
