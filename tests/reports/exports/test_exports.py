"""Values for other tools: names that stay, values with their intervals, and what is left out."""

import json
import math

import pytest

from reports.__main__ import main
from reports.exports.format import formats
from tests.reports.conftest import make_document, make_language_document, set_processes

ROUTERS = ("linear", "mlp")
COMMIT = {"id": "ab" * 20, "time": "2026-01-02T03:00:00+02:00"}


def make_run(routers=ROUTERS):
    """Two routers, one token on random input, and inside a language model."""
    run, inside = make_document(routers), make_language_document(routers, ("decode",))
    run["benchmarks"] = [
        b for b in run["benchmarks"] if (b["extra_info"]["scenario"], b["extra_info"]["input"]) == ("token", "random")
    ]
    for benchmark in run["benchmarks"]:
        benchmark["extra_info"] |= {"figures": None, "peak_memory": None}
    run["benchmarks"] += inside["benchmarks"]
    run["study"]["language_model"] = inside["study"]["language_model"]
    return run | {"commit_info": COMMIT}


@pytest.fixture(scope="module")
def whole():
    return json.dumps(make_run())


@pytest.fixture
def run(whole):
    return json.loads(whole)


@pytest.fixture
def export(save, tmp_path, capsys):
    """Runs the command; its exit code and what it said. What it wrote is in `out`."""

    def run_it(word, document, *words):
        code = main(["export", word, str(save(document)), "-o", str(tmp_path / "out"), *words])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run_it


def written(tmp_path, name=""):
    return json.loads((tmp_path / "out" / name if name else tmp_path / "out").read_text(encoding="utf-8"))


def test_every_format_says_what_reads_it():
    assert set(formats()) == {"asv", "bencher"}
    assert all(each.purpose and each.out for each in formats().values())


def test_bencher_has_each_value_with_its_ends(run, export, tmp_path):
    code, said = export("bencher", run)
    assert code == 0
    assert said.splitlines() == [
        f"11 values of 5 benchmarks in {tmp_path / 'out'}",
        "ratio of 2 benchmarks left out: the baseline's to itself is 1.",
        "peak_memory of 2 benchmarks left out: the file has no value.",
    ]
    document = written(tmp_path)
    assert set(document) == {
        "token | random | linear",
        "token | random | mlp",
        "language_model | decode | original | stock",
        "language_model | decode | random | linear",
        "language_model | decode | random | mlp",
    }
    timing = next(b for b in run["benchmarks"] if b["name"] == "bench_token[random-mlp]")["extra_info"]["timing"]
    found = document["token | random | mlp"]
    assert found["latency"]["value"] == pytest.approx(1e3 * timing["us_per_call"])
    assert found["ratio"] == {
        "value": timing["ratio"]["estimate"],
        "lower_value": timing["ratio"]["low"],
        "upper_value": timing["ratio"]["high"],
    }
    assert document["language_model | decode | original | stock"].keys() == {"latency", "peak-memory"}
    for measures in document.values():
        for value in measures.values():
            assert all(math.isfinite(number) for number in value.values())


def test_metrics_are_asked_for_by_name(run, export, tmp_path):
    code, _ = export("bencher", run, "--metric", "token_entropy", "--metric", "parameters")
    assert code == 0
    assert written(tmp_path)["token | random | mlp"].keys() == {"token-entropy", "parameters"}
    code, said = export("bencher", run, "--metric", "speed")
    assert (code, "--metric speed: no such metric; there are ratio, us_per_call" in said) == (2, True)


ENVIRONMENT = "pythonunknown-device-cpu-threads-1-dtype-float32-clock-host-l2-warm-preset-quick"
RESULT = f"Synthetic-CPU-2-CPUs/abababab-{ENVIRONMENT}.json"


def test_asv_has_the_layout_that_it_documents(run, export, tmp_path):
    mlp = next(b for b in run["benchmarks"] if b["name"] == "bench_token[random-mlp]")["extra_info"]
    set_processes(mlp, [100.0, 110.0, 120.0, 130.0, 140.0])
    ratio = mlp["timing"]["us_per_call"] / 412.0
    mlp["timing"]["ratio"] = {"estimate": ratio, "low": 0.9 * ratio, "high": 1.1 * ratio}
    code, said = export("asv", run)
    assert (code, said.startswith("11 values of 5 benchmarks in ")) == (0, True)
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.json")}
    assert files == {"benchmarks.json", "Synthetic-CPU-2-CPUs/machine.json", RESULT}
    machine = written(tmp_path, "Synthetic-CPU-2-CPUs/machine.json")
    assert (
        machine | {"machine": "Synthetic-CPU-2-CPUs", "cpu": "Synthetic CPU", "num_cpu": "2", "version": 1} == machine
    )
    assert set(machine) == {"machine", "os", "arch", "cpu", "num_cpu", "ram", "version"}
    result, benchmarks = written(tmp_path, RESULT), written(tmp_path, "benchmarks.json")
    assert (result["version"], benchmarks.pop("version")) == (2, 2)
    assert result["commit_hash"] == COMMIT["id"]
    assert result["date"] == 1767315600000  # 2026-01-02 01:00 UTC, in milliseconds
    assert result["params"]["preset"] == "quick"
    assert set(result["results"]) == set(benchmarks) == {
        "token.random.time_us_per_call", "token.random.track_ratio", "language_model.decode.time_us_per_call",
        "language_model.decode.track_ratio", "language_model.decode.peakmemory_peak_memory",
    }  # fmt: skip
    described = benchmarks["token.random.time_us_per_call"]
    assert (described["type"], described["unit"], described["param_names"]) == ("time", "seconds", ["router"])
    assert described["params"] == [["'linear'", "'mlp'"]]
    row = dict(zip(result["result_columns"], result["results"]["token.random.time_us_per_call"], strict=False))
    assert row["params"] == [["'linear'", "'mlp'"]]
    assert row["version"] == described["version"]
    assert row["samples"][1] == pytest.approx([1e-4, 1.1e-4, 1.2e-4, 1.3e-4, 1.4e-4])
    assert row["result"][1] == pytest.approx(1e-6 * mlp["timing"]["us_per_call"])
    assert (
        row["stats_ci_99_a"][1] < 1e-4 < row["stats_q_25"][1] < row["stats_q_75"][1] < 1.4e-4 < row["stats_ci_99_b"][1]
    )
    inside = benchmarks["language_model.decode.track_ratio"]["params"]
    assert inside == [["'linear (random)'", "'mlp (random)'"]]


def test_asv_exports_into_one_folder_add_up(run, export, tmp_path):
    export("asv", run)
    other = make_run(("linear", "hash")) | {"commit_info": COMMIT | {"id": "cd" * 20}}
    assert export("asv", other)[0] == 0
    benchmarks = written(tmp_path, "benchmarks.json")
    assert benchmarks["token.random.time_us_per_call"]["params"] == [["'linear'", "'mlp'", "'hash'"]]
    result = json.loads(next((tmp_path / "out").rglob("cdcdcdcd-*.json")).read_text())
    assert result["results"]["token.random.time_us_per_call"][1] == [["'linear'", "'hash'"]]
    assert len(list((tmp_path / "out").rglob("*-preset-quick.json"))) == 2


def test_other_sizes_have_another_version(run, export, tmp_path):
    export("asv", run)
    before = written(tmp_path, "benchmarks.json")["token.random.time_us_per_call"]["version"]
    for benchmark in run["benchmarks"]:
        if "intermediate_size" in benchmark["extra_info"]:
            benchmark["extra_info"]["intermediate_size"] *= 2
    export("asv", run)
    assert written(tmp_path, "benchmarks.json")["token.random.time_us_per_call"]["version"] != before


def test_hostile_names_make_no_paths(run, export, tmp_path):
    for benchmark in run["benchmarks"]:
        if benchmark["extra_info"].get("input") == "random":
            benchmark["extra_info"]["input"] = "../../etc/x y"
    run["study"]["inputs"]["../../etc/x y"] = run["study"]["inputs"]["random"]
    run["study"]["noise"] = []
    run["machine_info"]["cpu"]["brand_raw"] = "../<b>\x1b"
    assert export("asv", run)[0] == 0
    names = [name for name in written(tmp_path, "benchmarks.json") if name.startswith("token")]
    assert set(names) == {
        f"token.~2e~~2e~~2f~~2e~~2e~~2f~etc~2f~x~20~y.{each}" for each in ("time_us_per_call", "track_ratio")
    }
    assert all("/" not in name for name in names)
    assert {path.parent.name for path in (tmp_path / "out").rglob("*preset*.json")} == {"b-2-CPUs"}


def test_names_that_differ_in_nothing_seen_are_refused(run, export, tmp_path):
    run["benchmarks"][0]["extra_info"]["router"] = "mlp\x1b"
    run["benchmarks"][1]["extra_info"]["router"] = "mlp\u202e"
    for benchmark in run["benchmarks"][:2]:
        benchmark["extra_info"]["timing"]["baseline"] = "x"
    code, said = export("bencher", run)
    assert (code, len(said.splitlines())) == (2, 1)
    assert "go by the name 'token | random | mlp '" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("word", "changes", "reason"),
    [
        ("asv", {"commit_info": {}}, "has no commit with its time, and asv files results by commit"),
        ("asv", {"commit_info": COMMIT | {"id": "unversioned"}}, "has no commit with its time"),
        ("asv", {"commit_info": COMMIT | {"time": "soon"}}, "has no commit with its time"),
        ("bencher", {"benchmarks": []}, "holds no benchmark"),
        ("bencher", {"study": 1}, "study is not an object"),
    ],
)
def test_bad_input_is_one_line_and_nothing_written(run, export, tmp_path, word, changes, reason):
    code, said = export(word, run | changes)
    assert (code, len(said.splitlines()), reason in said) == (2, 1, True)
    assert str(tmp_path / "run.json") in said
    assert not (tmp_path / "out").exists()


def test_a_foreign_benchmarks_json_is_kept(run, export, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "benchmarks.json").write_text('{"mine": 1}')
    code, said = export("asv", run)
    assert (code, "is no asv benchmarks.json of version 2" in said) == (2, True)
    assert (tmp_path / "out" / "benchmarks.json").read_text() == '{"mine": 1}'
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_an_unknown_format_is_refused_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["export", "excel", "x.json", "-o", "y"])
    assert stop.value.code == 2
    assert "'asv', 'bencher'" in capsys.readouterr().err.replace("asv,", "'asv',").replace("''", "'")
