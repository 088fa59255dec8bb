import json

import pytest

from reports.errors import ReportError
from reports.loading.load import load_report_data
from tests.reports.conftest import make_document, set_processes


@pytest.fixture(scope="module")
def pristine():
    """Four routers: every test here reads a whole file."""
    return make_document(("linear", "attention", "mlp", "hadamard_unconstrained"))


def at(document, path):
    """The container that holds the last step of a path, and that step."""
    for step in path[:-1]:
        document = document[step]
    return document, path[-1]


def test_a_document_comes_through_typed(document, save):
    data = load_report_data([save(document)])
    entry = data.find("router", "contextual")["mlp"]
    assert data.routers[:3] == ("linear", "attention", "mlp")
    assert entry.sizes["hidden_size"] == 384
    assert entry.timing.ratio.estimate == 4.7
    assert entry.behaviour.metric("token_entropy").known.keys() == {11, 12, 13}
    assert entry.sample is not None
    assert entry.sample.sequence_tokens is not None
    assert data.find("token", "random")["mlp"].sample is None


def test_memory_is_read_where_a_run_has_measured_it(document, save):
    document["benchmarks"][0]["extra_info"]["peak_memory"] = 4096
    document["benchmarks"][1]["extra_info"]["peak_memory"] = None
    del document["benchmarks"][2]["extra_info"]["peak_memory"]
    entries = load_report_data([save(document)]).entries
    assert [entry.peak_memory for entry in entries[:3]] == [4096, None, None]


def test_null_is_a_number_that_does_not_exist(document, save):
    data = load_report_data([save(document)])
    margin = data.find("router", "random")["hadamard_unconstrained"].behaviour.metric("margin")
    assert margin.mean is None
    assert margin.interval is None


INFO = ("benchmarks", 0, "extra_info")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (("study",), "not a file of this suite"),
        (("benchmarks",), "not a pytest-benchmark file"),
        (("study", "schema"), "has no field 'schema'"),
        (INFO, "benchmarks[0] has no field 'extra_info'"),
        ((*INFO, "num_experts"), "has no field 'num_experts'"),
        ((*INFO, "timing", "ratio", "estimate"), "benchmarks[0].extra_info.timing.ratio has no field 'estimate'"),
        ((*INFO, "behaviour", "metrics", "cv", "values"), "has no field 'values'"),
    ],
)
def test_a_missing_field_is_named(document, save, path, reason):
    container, key = at(document, path)
    del container[key]
    with pytest.raises(ReportError) as refusal:
        load_report_data([save(document)])
    assert reason in str(refusal.value)
    assert "run.json" in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("study", "schema"), 4, "study.schema is 4; this version reads schema 3"),
        (("study", "schema"), 2, "study.schema is 2; this version reads schema 3 (version 0.2 of this suite reads it)"),
        (("study", "schema"), True, "study.schema is True; this version reads schema 3"),
        (("study", "metrics", "cv", "format"), "{}", "study.metrics.cv.format String should match"),
        (("study", "metrics", "cv", "range"), [0], "study.metrics.cv.range"),
        (("study", "inputs", "random", "timed"), 1, "study.inputs.random.timed is not true or false: 1"),
        (("study",), None, "study is not an object"),
        (("benchmarks",), [], "holds no benchmark"),
        (("benchmarks",), {}, "is not a list"),
        ((*INFO, "router"), 7, "is not a string: 7"),
        ((*INFO, "parameters"), -1, "is not a count"),
        ((*INFO, "parameters"), True, "is not a number"),
        ((*INFO, "timing", "us_per_call"), "fast", "is not a number: 'fast'"),
        ((*INFO, "timing", "us_per_call"), 0, "is not above zero"),
        ((*INFO, "timing", "ratio", "low"), -1, "is not above zero"),
        ((*INFO, "timing", "process_us"), [], "holds no process"),
        ((*INFO, "timing", "process_us"), [1.0, 0], "process_us[1] is not above zero"),
        ((*INFO, "peak_memory"), -1, "is not a count"),
        ((*INFO, "behaviour", "seeds"), [1, 2], "has 3 items instead of 2"),
        ((*INFO, "behaviour", "expert_load", "mean"), [1.0], "has 1 items instead of 8"),
        ((*INFO, "figures", "sequence_tokens"), ["one"], "has 1 items instead of 128"),
        ((*INFO, "figures", "output_histogram", "random", "edges"), [0, 1], "has 2 items instead of 81"),
    ],
)
def test_a_wrong_value_is_named(document, save, path, value, reason):
    container, key = at(document, path)
    container[key] = value
    with pytest.raises(ReportError) as refusal:
        load_report_data([save(document)])
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON, or cut off"),
        ("not json", "not JSON"),
        ("[1, 2]", "not a pytest-benchmark file"),
        ("null", "not a pytest-benchmark file"),
        ('{"benchmarks": [{"name": "test_x", "extra_info": {}, "stats": {}}]}', "not a file of this suite"),
        ('{"benchmarks": [], "study": {"schema": 1, "x": NaN}}', "holds NaN"),
        ('{"kind": "gate", "rows": []}', "is a gate's result (for `python -m reports gate`)"),
        ('{"kind": "self-test", "benchmarks": []}', "is a self-test of the gate"),
        ("[" * 100_000, "not JSON"),
        ('{"benchmarks": [], "study": {"schema": 2, "a": {"x": 1, "x": 2}}}', "an object with the key 'x' twice"),
        ('{"benchmarks": ' + "9" * 5000 + "}", "too long"),
    ],
)
def test_what_is_no_document_is_refused(save, text, reason):
    with pytest.raises(ReportError, match=r"run\.json") as refusal:
        load_report_data([save(text)])
    assert reason in str(refusal.value)


def test_an_infinite_number_in_valid_json_is_refused(document, save):
    text = json.dumps(document).replace('"us_per_call": 412.0', '"us_per_call": 1e999', 1)
    with pytest.raises(ReportError, match="not a finite number"):
        load_report_data([save(text)])


def test_truncation_anywhere_is_refused(document, save):
    text = json.dumps(document)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(ReportError, match="cut off"):
            load_report_data([save(text[: int(len(text) * share)])])


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for name, reason in (("absent.json", "No such file"), ("binary.json", "not UTF-8"), (".", "directory")):
        with pytest.raises(ReportError, match=reason):
            load_report_data([tmp_path / name])


def test_the_same_measurement_twice_in_a_file_is_refused(document, save):
    document["benchmarks"].append(document["benchmarks"][0])
    with pytest.raises(ReportError, match="router / linear / random twice"):
        load_report_data([save(document)])


def test_the_later_file_wins_and_the_study_says_so(document, save):
    first = save(document, "first.json")
    document["benchmarks"] = document["benchmarks"][:2]
    for benchmark in document["benchmarks"]:
        info = benchmark["extra_info"]
        set_processes(info, [300.0 * info["timing"]["ratio"]["estimate"]] * 5)
    data = load_report_data([first, save(document, "second.json")])
    assert data.find("router", "random")["linear"].timing.us_per_call == pytest.approx(300.0)
    assert data.find("router", "random")["mlp"].timing.us_per_call > 1000
    (remark,) = data.remarks
    assert "second.json" in remark
    assert "2 measurement(s)" in remark


def test_a_run_that_holds_less_than_it_planned_is_incomplete(document, save):
    number = len(document["benchmarks"])
    for planned, incomplete in ((None, False), (number, False), (number + 1, True)):
        document["study"] |= {} if planned is None else {"planned": planned}
        (source,) = load_report_data([save(document)]).sources
        assert source.incomplete is incomplete
    document["study"]["planned"] = number - 1
    with pytest.raises(ReportError, match=rf"holds {number} benchmarks, more than study.planned, {number - 1}"):
        load_report_data([save(document)])
    document["study"]["planned"] = -1
    with pytest.raises(ReportError, match=r"study.planned is not a count: -1"):
        load_report_data([save(document)])


def test_a_measurement_of_another_machine_is_another_measurement(document, save):
    first = save(document, "first.json")
    document["machine_info"]["cpu"]["brand_raw"] = "Another CPU"
    document["benchmarks"] = document["benchmarks"][:2]
    data = load_report_data([first, save(document, "second.json"), save(document, "third.json")])
    assert [source.conditions for source in data.sources] == [0, 1, 1]
    (remark,) = data.remarks
    assert remark.startswith("third.json comes later and holds 2 measurement(s)")
    assert [len(data.under(conditions).entries) for conditions in (0, 1)] == [len(data.entries) - 2, 2]
    assert data.find("router", "random")["linear"].source == 2


def test_a_bad_second_file_is_the_one_named(document, save):
    with pytest.raises(ReportError, match=r"bad\.json"):
        load_report_data([save(document), save("{", "bad.json")])


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ((*INFO, "input"), "tomorrow", "benchmarks[0].extra_info.input is 'tomorrow', none of study.inputs"),
        ((*INFO, "scenario"), "other", "extra_info.scenario is 'other', no router scenario of study.scenarios"),
        ((*INFO, "scenario"), "prefill", "extra_info.scenario is 'prefill', no router scenario of study.scenarios"),
        (("study", "inputs"), {}, "benchmarks[0].extra_info.input is 'random', none of study.inputs"),
        (("study", "scenarios"), {}, "extra_info.scenario is 'router', no router scenario of study.scenarios"),
    ],
)
def test_a_benchmark_of_what_the_file_does_not_describe_is_refused(document, save, path, value, reason):
    container, key = at(document, path)
    container[key] = value
    with pytest.raises(ReportError) as refusal:
        load_report_data([save(document)])
    assert reason in str(refusal.value)


def test_an_integer_beyond_every_float_is_refused_in_a_line(document, save):
    document["benchmarks"][0]["extra_info"]["timing"]["us_per_call"] = 10**400
    with pytest.raises(ReportError) as refusal:
        load_report_data([save(document)])
    assert "timing.us_per_call" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_router_that_has_given_no_token_an_expert_is_shown(document, save):
    container, key = at(document, (*INFO, "behaviour", "expert_load", "mean"))
    container[key] = [0.0] * 8
    load_report_data([save(document)])
