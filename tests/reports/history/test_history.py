"""The command, from a folder of stored runs to page, tables and terminal."""

import csv
import json
import re

import pytest

from reports.__main__ import main
from tests.reports.conftest import ROUTERS as ALL

EVIL = "<b>\x1b[31m\u202e=cmd" + "x" * 180


@pytest.fixture
def follow(tmp_path, capsys):
    """Runs the command; its exit code, what it said and the page."""

    def run(folder, *words):
        code = main(["history", str(folder), "-o", str(tmp_path / "out"), *words])
        said = capsys.readouterr()
        page = tmp_path / "out" / "index.html"
        return code, said.out + said.err, page.read_text(encoding="utf-8") if page.exists() else ""

    return run


def rows(tmp_path, name):
    with (tmp_path / "out" / "tables" / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def stepping(make_run, store):
    """Twelve runs; from the ninth on mlp takes a quarter more."""
    return store(*(make_run(number, slower=1.25 if number >= 8 else 1.0) for number in range(12)))


def test_a_step_is_found_marked_and_written(stepping, follow, tmp_path):
    code, said, page = follow(stepping)
    assert code == 0
    assert said.startswith("12 runs of 12 commits, 2026-01-01 to 2026-01-12: 2 of 5 series step.\n")
    assert said.endswith(f"Open {tmp_path / 'out' / 'index.html'}\n")
    steps = rows(tmp_path, "steps")
    assert {(row["benchmark"], row["metric"], row["verdict"]) for row in steps} == {
        ("token | random | mlp", "Ratio", "slower"),
        ("token | random | mlp", "Time", "slower"),
    }
    assert {row["commit"] for row in steps} == {f"{8:040x}"[:8]}
    assert float(steps[0]["ratio"]) == pytest.approx(1.25, abs=0.005)
    assert 1.24 < float(steps[0]["ratio_low"]) < float(steps[0]["ratio_high"]) < 1.26
    assert "× 1.25" in page
    assert page.count("stroke-dasharray") == 4  # the two among the steps, and again among all


def test_values_are_all_in_the_csv(stepping, follow, tmp_path):
    follow(stepping, "--router", "mlp", "--metric", "us_per_call")
    values = rows(tmp_path, "values")
    assert len(values) == 12
    assert [row["time"] for row in values] == sorted(row["time"] for row in values)
    assert {row["metric"] for row in values} == {"us_per_call"}
    assert float(values[-1]["value"]) / float(values[0]["value"]) == pytest.approx(1.25, abs=0.01)


def test_only_what_steps_is_open(stepping, follow):
    _, _, page = follow(stepping)
    opened = re.sub(r"(?s)<details .*?</details>", "", page)
    assert opened.count('<figure class="panel">') == 2
    assert page.count('<figure class="panel">') == 7
    assert re.findall(r"<summary><h2>(.*?)</h2>", page) == [
        "Ratio: all 2 series",
        "Time: all 3 series",
        "Runs and method",
    ]


def test_machines_and_settings_are_never_joined(make_run, store, follow, tmp_path):
    runs = [make_run(number) for number in range(12)]
    for number, run in enumerate(runs):
        if number % 3 == 1:
            run["machine_info"]["cpu"]["brand_raw"] = "Another CPU"
        if number % 3 == 2:
            run["study"]["clock"]["mode"] = "compile+host"
            for benchmark in run["benchmarks"]:
                benchmark["extra_info"]["timing"]["clock_mode"] = "compile+host"
    code, said, page = follow(store(*runs), "--metric", "us_per_call")
    assert code == 0
    assert "Times of 3 machines or settings, which do not compare, stand apart: A has 4 runs (" in said
    assert "B has 4 runs (CPU Another CPU, clock host)" in said
    assert "nothing steps" in said
    values = rows(tmp_path, "values")
    assert {row["machine"] for row in values} == {"A", "B", "C"}
    assert "Time, machine C: all 3 series" in page


def test_other_sizes_are_another_series(make_run, store, follow, tmp_path):
    runs = [make_run(number) for number in range(8)]
    for run in runs[4:]:
        for benchmark in run["benchmarks"]:
            benchmark["extra_info"]["intermediate_size"] *= 2
    _, said, page = follow(store(*runs), "--metric", "us_per_call", "--router", "mlp")
    assert "nothing steps" in said
    assert "No series of times has more than 4 runs; steps are looked for from 6 runs on." in said
    assert "intermediate_size 6,144" in page
    assert len({row["detail"] for row in rows(tmp_path, "values")}) == 2


def test_a_newer_torch_is_named_beside_the_step(make_run, store, follow, tmp_path):
    runs = [make_run(number, slower=1.25 if number >= 8 else 1.0) for number in range(12)]
    for number, run in enumerate(runs):
        run["study"]["machine"] = {"cpu": {"model": "A CPU"}, "torch": {"version": "2.14" if number >= 8 else "2.13"}}
    code, said, _ = follow(store(*runs))
    assert code == 0
    assert "stand apart" not in said
    assert {row["also_changed"] for row in rows(tmp_path, "steps")} == {"torch.version"}


def test_a_step_inside_one_commit_is_not_the_codes(make_run, store, follow, tmp_path):
    runs = [make_run(number, slower=1.25 if number >= 8 else 1.0, commit="ab" * 20) for number in range(12)]
    code, said, _ = follow(store(*runs))
    assert (code, "12 runs of 1 commit," in said) == (0, True)
    assert all("it is the same commit" in row["also_changed"] for row in rows(tmp_path, "steps"))


def test_where_most_series_step_at_once_the_machine_is_named_first(make_run, store, follow):
    runs = [make_run(number, routers=ALL, all_slower=1.25 if number >= 3 else 1.0) for number in range(6)]
    code, said, page = follow(store(*runs), "--metric", "us_per_call")
    words = "Time: 9 of 9 series step at 00000000: look for what all of them share (the machine, its load, the"
    assert (code, words in said, words in page) == (0, True, True)


def test_a_figure_that_moved_is_a_step_without_any_scatter(make_run, store, follow, tmp_path):
    runs = [make_run(number) for number in range(3)]
    for benchmark in runs[2]["benchmarks"]:
        benchmark["extra_info"]["parameters"] += 8
    code, said, page = follow(store(*runs), "--metric", "parameters", "--metric", "token_entropy")
    assert code == 0
    assert "3 of 6 series step" in said
    steps = rows(tmp_path, "steps")
    assert {row["verdict"] for row in steps} == {"moved"}
    by_name = {row["benchmark"].rpartition(" | ")[2]: row for row in steps}
    assert (by_name["hash"]["before"], by_name["hash"]["after"], by_name["hash"]["ratio"]) == ("0.0", "8.0", "")
    assert "moved" in page


def test_one_run_alone_says_so_and_shows_it(make_run, store, follow):
    code, said, page = follow(store(make_run(3)))
    assert code == 0
    assert said.startswith("One run alone, of 00000000: there is nothing to follow yet.\n")
    assert re.search(r"00000000 +2026-01-04 12:00 +\S+ +quick +3 +A", said)
    assert "One run alone" in page


def test_the_order_is_that_of_commits_and_clocks_that_go_backwards_are_said(make_run, store, follow, tmp_path):
    runs = [make_run(number) for number in (5, 1, 3)]
    runs[0]["datetime"] = "2026-01-01T00:00:00"
    runs[1]["commit_info"] = {"id": "unversioned", "time": None}
    code, said, _ = follow(store(*runs), "--metric", "us_per_call", "--router", "hash")
    assert code == 0
    assert [row["time"][:10] for row in rows(tmp_path, "values")] == ["2026-01-02", "2026-01-04", "2026-01-06"]
    assert "0001_run.json: measured before the commit was made" in said
    assert "0002_run.json: no commit's time in the file, so that the run's own date stands for it." in said


def test_what_is_no_run_is_named_and_skipped_and_a_copy_counts_once(make_run, store, follow, gate_document):
    folder = store(make_run(0), make_run(1), make_run(1))
    undated = make_run(2) | {"commit_info": {}, "datetime": "yesterday"}
    old = make_run(3)
    old["study"]["schema"] = 2
    files = {"broken": '{"benchmarks": [', "other": "{}", "gate": json.dumps(gate_document), "old": json.dumps(old)}
    for name, text in (files | {"undated": json.dumps(undated)}).items():
        (folder / f"{name}.json").write_text(text)
    code, said, page = follow(folder)
    assert code == 0
    assert "6 files skipped: " in said
    for words in (
        "broken.json: not JSON, or cut off", "other.json: not a pytest-benchmark file", "gate.json: is a gate",
        "old.json: study.schema is 2", "undated.json: has neither its commit&#39;s time nor a date",
        "0003_run.json: is the same run as Linux-CPython-3.11-64bit/0002_run.json",
    ):  # fmt: skip
        assert words in page


def test_hostile_names_stay_names(make_run, store, follow, tmp_path):
    runs = [make_run(number, slower=1.25 if number >= 8 else 1.0) for number in range(12)]
    for run in runs:
        run["machine_info"]["cpu"]["brand_raw"] = EVIL
        run["commit_info"]["id"] = EVIL + run["commit_info"]["id"]
        for benchmark in run["benchmarks"]:
            if benchmark["extra_info"]["router"] == "mlp":
                benchmark["extra_info"]["router"] = f"=cmd{EVIL}"[:200]
    code, said, page = follow(store(*runs))
    assert (code, "2 of 5 series step" in said) == (0, True)
    for text in (said.replace("\n", ""), page.replace("\n", "")):
        assert text.isprintable()
    assert "<b>" not in page
    assert all(row["router"].startswith("'=cmd") for row in rows(tmp_path, "values") if "cmd" in row["router"])


@pytest.mark.parametrize(
    ("content", "words", "reason"),
    [
        (None, (), "holds no file *.json"),
        ("{}", (), "no run of pytest bench in x.json (not a pytest-benchmark file"),
        ("run", ("--metric", "speed"), "--metric speed: no such metric; there are ratio, us_per_call, peak_memory"),
        ("run", ("--router", "nobody"), "--router nobody: in no run; there are hash, linear and mlp"),
        ("run", ("--scenario", "x"), "--scenario x: in no run; there are token"),
    ],
)
def test_bad_input_is_one_line_and_nothing_written(make_run, tmp_path, follow, content, words, reason):
    folder = tmp_path / "stored"
    folder.mkdir()
    if content:
        (folder / "x.json").write_text(json.dumps(make_run(0)) if content == "run" else content)
    code, said, page = follow(folder, *words)
    assert (code, page) == (2, "")
    assert len(said.splitlines()) == 1
    assert reason in said
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_none(tmp_path, follow):
    assert follow(tmp_path / "nowhere")[:2] == (2, f"reports: {tmp_path / 'nowhere'}: No such folder\n")
    (tmp_path / "file").write_text("{}")
    assert follow(tmp_path / "file")[:2] == (2, f"reports: {tmp_path / 'file'}: is no folder\n")
