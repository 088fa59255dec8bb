from __future__ import annotations

import json
import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bench import coverage
from bench.presets import get_preset
from bench.repetition.plan import Plan
from bench.repetition.repetition import Repetition
from bench.router.inputs import Inputs
from bench.timing.intervals import Interval


def run_of(**ratios: tuple[float, float, float]) -> coverage.Result:
    fields = ("estimate", "low", "high")
    return {
        "router | random": {
            name.replace("_", "@"): dict(zip(fields, each, strict=True)) for name, each in ratios.items()
        }
    }


def test_an_interval_is_right_where_it_holds_the_mean_of_the_others() -> None:
    runs = [
        run_of(mlp=(2.0, 1.9, 2.1), a_b=(1.0, 0.9, 1.1)),
        run_of(mlp=(2.0, 1.9, 2.1), a_b=(1.2, 1.1, 1.3)),
        run_of(mlp=(4.0, 3.9, 4.1), a_b=(0.8, 0.7, 0.9)),
    ]
    found = coverage.evaluate(runs, "a@b")["router | random"]
    # The means of the others: √8 = 2.83 twice, and 2.
    assert (found["cases"], found["held"]) == (3, 0)
    assert (found["self_comparisons"], found["missed"]) == (3, 2)
    assert found["routers"].keys() == {"mlp"}
    assert coverage.evaluate(runs[:2], "a@b")["router | random"]["held"] == 2


def test_of_processes_that_are_independent_about_19_in_20_are_right() -> None:
    generator = random.Random(0)

    def fresh() -> coverage.Result:
        ratios = {f"r{i}": [generator.lognormvariate(0.3, 0.02) for _ in range(5)] for i in range(60)}
        ratios["twin"] = [generator.lognormvariate(0, 0.02) for _ in range(5)]
        return {"group": {name: Interval.of_ratios(each).as_dict() for name, each in ratios.items()}}

    found = coverage.evaluate([fresh() for _ in range(8)], "twin")["group"]
    assert found["held"] / found["cases"] == pytest.approx(coverage.expected_share(8, 5), abs=0.03)


def test_fewer_are_right_of_few_runs_because_the_mean_of_the_others_varies_too() -> None:
    # t(0.975, 4) = 2.7764, over the root of 2 it is 1.9632, and over the root of 8/7 it is 2.5971.
    assert coverage.expected_share(2, 5) == pytest.approx(0.8788, abs=1e-3)
    assert coverage.expected_share(8, 5) == pytest.approx(0.9398, abs=1e-3)
    assert coverage.expected_share(10**9, 5) == pytest.approx(0.95)


def test_a_router_that_a_run_could_not_time_is_left_out_of_that_run() -> None:
    whole = run_of(mlp=(2.0, 1.9, 2.1), own=(1.0, 0.9, 1.1), a_b=(1.0, 0.9, 1.1))
    found = coverage.evaluate([run_of(), run_of(mlp=(2.0, 1.9, 2.1), a_b=(1.0, 0.9, 1.1)), whole, whole], "a@b")
    assert {name: each["runs"] for name, each in found["router | random"]["routers"].items()} == {"mlp": 3, "own": 2}
    assert found["router | random"]["self_comparisons"] == 3


def test_finished_runs_are_kept_and_the_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output, measured = tmp_path / "coverage.json", []

    def measure(*_: Any) -> coverage.Result:
        if len(measured) == 2:
            measured.append("interrupted")
            raise KeyboardInterrupt
        measured.append("done")
        return {"router | random": {name: {"estimate": 1, "low": 0.9, "high": 1.1} for name in ("mlp", "linear@again")}}

    monkeypatch.setattr(coverage, "measure", measure)
    arguments = ["--runs", "3", "--preset", "smoke", "-o", str(output)]
    assert coverage.main(arguments) == 130
    assert not output.exists()
    assert coverage.main(arguments) == 0
    assert measured == ["done", "done", "interrupted", "done"]
    assert "all: 3 of 3 (100.0 %, 93.9 % expected); 0 of 3 self-comparisons miss 1 (0.0 %)" in capsys.readouterr().out
    assert len(json.loads(output.read_text())["runs"]) == 3
    assert {path.name for path in tmp_path.iterdir()} <= {"coverage.json", "coverage.json.journal.lock"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scenario", "decode"], "--scenario 'decode': no scenario"),
        (["--threads", "100000"], "--threads 100000: expected at most"),
        (["-o", "."], "-o .: expected a file"),
        (["-o", "/dev/null/x"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert coverage.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_a_fresh_run_has_every_router_and_the_baseline_against_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "list_routers", lambda: ["hash"])
    here = lambda folder: nullcontext(Repetition(Plan.read(folder), folder))  # noqa: E731  # without processes
    monkeypatch.setattr(coverage, "RepetitionProcess", here)
    smoke = get_preset("smoke")
    result = coverage.measure(smoke, "token", Inputs(smoke, "cpu"), 1)
    assert list(result) == ["token | random", "token | contextual"]
    assert all(group.keys() == {"linear@again", "hash"} for group in result.values())
