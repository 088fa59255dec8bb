"""`python -m bench.gpu`: what it refuses, the order and the time of its steps, and one run of a real one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.gpu import command
from bench.gpu.command import main, run
from bench.gpu.requirements import how_to_get, missing
from bench.gpu.running import CUT_OFF, DONE, FAILED, LEFT_OUT, Steps
from bench.gpu.steps import ROOT, Step, steps
from tests.bench.gpu.test_table import document


def program(name: str, code: str, **options: object) -> Step:
    step = Step(name, f"the step {name}", (sys.executable, "-c", code), weight=1, least_s=0)
    return replace(step, **options)  # type: ignore[arg-type]  # any field


@pytest.fixture
def known(tmp_path: Path) -> Steps:
    return Steps(tmp_path, "code")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--device", "tpu"), "unknown device 'tpu'; on this machine there are: cpu"),
        (("--device", "cpu", "--preset", "fast"), "unknown preset 'fast'; there are: quick, paper"),
        (("--device", "cpu", "--only", "dance"), "unknown step 'dance'; there are: tests, paper-router"),
        (("--minutes", "0"), "0 is not above 0 and at most 10,000"),
        (("--minutes", "ten"), "invalid number value: 'ten'"),
        (("--device", "cpu", "-o", "/dev/null/here"), "cannot be used"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_runs(
    options: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]


def test_a_package_that_is_missing_is_named_with_the_way_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert missing({"pytest": "pytest", "no_such_module": "no-such-package>=2"}) == ["no-such-package>=2"]
    monkeypatch.setattr(command, "TO_MEASURE", {"no_such_module": "no-such-package>=2"})
    with pytest.raises(SystemExit, match="2"):
        main(["--device", "cpu"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert "no-such-package>=2 not installed" in said
    assert how_to_get(["no-such-package>=2"]) in said


def test_all_that_the_card_is_for_is_planned(tmp_path: Path) -> None:
    planned = {step.name: step for step in steps("cuda", "paper", tmp_path)}
    assert list(planned)[:2] == ["tests", "paper-router"]
    assert list(planned)[-1] == "report"
    assert {"paper-training", "paper-token", "mode-host", "mode-graph", "mode-compile", "mode-flushed"} < planned.keys()
    words = planned["mode-graph-flushed"].command
    assert words[words.index("--clock") + 1] == "graph"
    assert words[words.index("--l2") + 1] == "flushed"
    assert (words[words.index("--preset") + 1], words[words.index("--device") + 1]) == ("ci", "cuda")
    paper = planned["paper-router"].command
    assert paper[paper.index("--preset") + 1] == "paper"
    assert any("test_clocks.py" in word for word in planned["tests"].command)


def test_what_a_device_or_a_checkout_has_not_is_left_out_and_said(tmp_path: Path, known: Steps) -> None:
    (tests, *_) = steps("cpu", "smoke", tmp_path)
    (outcome,) = run([tests], known, 60)
    assert (outcome.status, outcome.said) == (LEFT_OUT, "they need a CUDA device")


def test_steps_end_as_their_programs_do(tmp_path: Path, known: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "made.json"
    partly = f"open({str(made)!r}, 'w').close(); print('1 failed, 8 passed'); raise SystemExit(1)"
    planned = [
        program("good", "pass"),
        program("bad", "print('nothing'); print('ERROR: no such thing'); raise SystemExit(4)"),
        program("partly", partly, makes=made),
        program("slow", "import time; time.sleep(600)", weight=0.02),
        program("last", "pass"),
    ]
    outcomes = run(planned, known, 100)
    assert [outcome.status for outcome in outcomes] == [DONE, FAILED, DONE, CUT_OFF, DONE]
    assert outcomes[1].said == "exit code 4: ERROR: no such thing"
    assert outcomes[2].said == "exit code 1: 1 failed, 8 passed"
    assert 1 < outcomes[3].seconds < 30
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/5] good: the step good ... done in ")
    assert "the same command goes on with it" in lines[3]


def test_a_step_is_done_once_and_again_where_it_or_the_code_is_another(tmp_path: Path) -> None:
    journal, made = tmp_path / "journal", tmp_path / "made"
    code = f"open({str(made)!r}, 'a').write('x'); open({str(journal)!r}, 'a').write('x')"
    step = program("step", code, makes=made, journal=journal)
    for digest, again, text in (("a", False, "x"), ("a", False, "x"), ("b", False, "x"), ("b", True, "xx")):
        run([replace(step, again=again)], Steps(tmp_path, digest), 20)
        assert made.read_text() == journal.read_text() == text
    made.unlink()
    run([step], Steps(tmp_path, "b"), 20)
    assert (made.read_text(), journal.read_text()) == ("x", "xxx")  # it goes on from its journal


def test_a_step_without_time_enough_is_left_out(known: Steps) -> None:
    planned = [program("first", "pass", weight=1.0, least_s=30.0), program("last", "pass", weight=3.0)]
    outcomes = run(planned, known, 100)
    assert outcomes[0].said == "its share of the time is 25 s, it needs 30 s"
    assert [outcome.status for outcome in outcomes] == [LEFT_OUT, DONE]


def test_every_step_that_measures_finds_its_benchmarks_with_its_options(tmp_path: Path) -> None:
    """In one process of its own; a whole run takes a minute, of which importing everything is the most."""
    commands = [step.command[3:] for step in steps("cpu", "smoke", tmp_path) if step.journal and not step.obstacle]
    collect = (
        "import json, sys, pytest\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    print('exit code', int(pytest.main([*arguments, '--collect-only', '-qq', '--assert=plain'])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", collect, json.dumps(commands)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("exit")] == ["exit code 0"] * len(commands)
    assert len(commands) >= 4


def test_what_was_measured_is_printed_and_not_measured_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "paper-router.json"
    content = json.dumps(document("router"))
    step = program("paper-router", f"open({str(made)!r}, 'w').write({content!r})", makes=made)
    monkeypatch.setattr(command, "steps", lambda *_: [step])
    arguments = ["--device", "cpu", "--preset", "smoke", "-o", str(tmp_path)]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert "[1/1] paper-router: the step paper-router ... done in" in output
    assert "5 processes x 1024 rounds, clock events, L2 warm" in output
    assert f"JSON files, logs and the report are in {tmp_path}." in output
    assert main(arguments) == 0
    assert "done: by an earlier run" in capsys.readouterr().out
    failing = program("failing", "raise SystemExit(3)")
    monkeypatch.setattr(command, "steps", lambda *_: [failing])
    assert main(arguments) == 1


def test_an_interrupt_ends_the_step_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupted)
    assert main(["--device", "cpu", "-o", str(tmp_path)]) == 130
    assert "interrupted; the same command goes on" in capsys.readouterr().err
