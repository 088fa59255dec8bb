"""`python -m bench.gate` on made-up revisions, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from bench.gate.command import main
from harness.command_line import most_threads

LINEAR = "router | random | linear"
SLOWER = {"ns": {LINEAR: 1_200_000}}

Gate = Callable[..., int]


def only_line(captured: pytest.CaptureFixture[str]) -> str:
    output, error = captured.readouterr()
    assert output == ""
    [line] = error.splitlines()
    assert line.startswith("gate: ")
    return line.removeprefix("gate: ")


def test_it_measures_and_reports(gate: Gate, repository: Any, capfd: pytest.CaptureFixture[str], seeded: None) -> None:
    repository.commit("base")
    repository.commit("head", **SLOWER)
    assert gate("main~1") == 1
    output, error = capfd.readouterr()
    assert error == ""
    assert f"{LINEAR} is slower: 1." in output
    document = json.loads((repository.path / "build" / "gate.json").read_text())
    assert document["outcome"]["exit_code"] == 1
    assert "Regression" in (repository.path / "build" / "gate.md").read_text()
    left = {path.relative_to(repository.path).as_posix() for path in repository.path.glob(".benchmarks/*")}
    assert ".benchmarks/gate.jsonl" not in left
    assert repository.worktrees == []


@pytest.mark.parametrize(
    ("head", "code"),
    [({}, 0), (SLOWER, 1), ({"ns": {LINEAR: 500_000}}, 0), ({"benchmarks": ["router | random | other"]}, 3)],
)
def test_exit_codes(quick: Gate, repository: Any, head: dict[str, Any], code: int) -> None:
    repository.commit("base")
    repository.commit("head", **head)
    assert quick("main~1", "--json", "result.json") == code
    assert json.loads((repository.path / "result.json").read_text())["outcome"]["exit_code"] == code


def test_a_broken_revision_is_one_line(quick: Gate, repository: Any, capfd: pytest.CaptureFixture[str]) -> None:
    repository.commit("base")
    repository.commit("head", on={"collect": "error"})
    assert quick("main~1") == 2
    assert only_line(capfd).startswith("head HEAD (")
    assert repository.worktrees == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "BASE is missing: the revision to compare with"),
        (("main", "--threshold", "0"), "argument --threshold: 0 is not between 0 and 100"),
        (("main", "--threshold", "nan"), "argument --threshold: nan is not between 0 and 100"),
        (("main", "--margin", "x"), "argument --margin: invalid number value: 'x'"),
        (("main", "--budget", "-1"), "argument --budget: -1 is not between 0 and 1e+06"),
        (("main", "--threads", "0"), f"argument --threads: 0 is not from 1 to {most_threads()}"),
        (("main", "--threads", "1000000000"), "argument --threads: 1000000000 is not from 1 to"),
        (("main", "--head=--"), "--head=--: '--' is no value"),
        (("main", "--router=--"), "--router=--: '--' is no value"),
        (("main", "--trials", "1.5"), "argument --trials: invalid whole number value: '1.5'"),
        (("main", "--preset", "fast"), "argument --preset: invalid choice: 'fast'"),
    ],
)
def test_wrong_usage(options: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(options)
    assert raised.value.code == 2
    assert complaint in capsys.readouterr().err


def test_an_unknown_revision_is_one_line(quick: Gate, repository: Any, capfd: pytest.CaptureFixture[str]) -> None:
    repository.commit()
    assert quick("nowhere") == 2
    assert only_line(capfd) == f"'nowhere' is no revision of {repository.path}"
    assert quick("main", "--head", "nowhere") == 2


def test_outside_a_checkout_it_is_one_line(
    quick: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert quick("main") == 2
    assert "compares revisions of a git checkout" in only_line(capfd)


def test_a_second_gate_is_refused(quick: Gate, repository: Any, capfd: pytest.CaptureFixture[str]) -> None:
    repository.commit()
    folder = repository.path / ".benchmarks" / "gate"
    folder.mkdir(parents=True)
    with FileLock(folder / "lock", timeout=0):
        assert quick("main") == 2
        assert only_line(capfd) == f"{repository.path}: another gate is running in this checkout"
    assert quick("main") == 0


def test_uncommitted_changes_and_equal_commits_are_said(
    quick: Gate, repository: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    commit = repository.commit()
    (repository.path / "notes").touch()
    assert quick("main") == 0
    notices = [
        f"The working tree has uncommitted changes, which are not compared: head is HEAD ({commit[:10]}).",
        "Base and head are the same commit.",
    ]
    assert capfd.readouterr().err.splitlines() == [f"gate: {notice}" for notice in notices]
    document = json.loads((repository.path / "build" / "gate.json").read_text())
    assert document["notices"] == notices


def test_other_benchmarks_and_requirements_are_said(
    quick: Gate, repository: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    repository.commit("base")
    for name in ("bench/README.md", "bench/router/inputs.py", "pyproject.toml"):
        (repository.path / name).parent.mkdir(exist_ok=True)
        (repository.path / name).touch()
    repository.commit("head")
    assert quick("main~1") == 0
    assert capfd.readouterr().err.splitlines() == [
        "gate: The benchmarks differ, too (bench/router/inputs.py): a ratio may be theirs.",
        "gate: pyproject.toml changed: both revisions run on what is installed now.",
    ]


def test_what_routers_do_on_another_documentation_is_not_compared(
    quick: Gate, repository: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    prose, random = "router | prose | linear", "router | random | linear"

    def figures(cv: float, parameters: int) -> list[list[Any]]:
        return [["prose | linear", "cv", cv], ["random | linear", "cv", 0.5], [prose, "parameters", parameters]]

    repository.commit("base", benchmarks=[prose, random], figures=figures(0.1, 512))
    (repository.path / "docs" / "reference").mkdir(parents=True)
    (repository.path / "docs" / "reference" / "commands.md").touch()
    repository.commit("other documentation", benchmarks=[prose, random], figures=figures(0.2, 512))
    assert quick("main~1") == 0
    assert capfd.readouterr().err.splitlines() == [
        "gate: The documentation differs, of which prose is made: what routers do there is not compared."
    ]
    assert json.loads((repository.path / "build" / "gate.json").read_text())["figures_compared"] == 2
    (repository.path / "README.md").touch()
    repository.commit("and more parameters", benchmarks=[prose, random], figures=figures(0.3, 513))
    assert quick("main~1") == 1
    repository.commit("the same documentation", benchmarks=[prose, random], figures=figures(0.4, 513))
    assert quick("main~1") == 1


def test_of_many_changed_benchmarks_some_are_named(
    quick: Gate, repository: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    repository.commit("base")
    for number in range(30):
        (repository.path / "bench" / f"extra{number:02}\x1b[2J.py").touch()
    repository.commit("head")
    assert quick("main~1") == 0
    [notice] = capfd.readouterr().err.splitlines()
    assert notice.isprintable()
    assert notice.count("extra") == 10
    assert "and others" in notice


def test_an_interrupted_run_goes_on_from_its_journal(
    quick: Gate, repository: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit("base")
    repository.commit("head", **SLOWER)
    journal = repository.path / ".benchmarks" / "gate.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr("bench.gate.verdicts.benchmark_result.weigh", interrupt)
        assert quick("main~1") == 130
    assert only_line(capfd) == "interrupted; --resume continues"
    assert repository.worktrees == []
    assert journal.read_bytes().count(b'"cycle_s"') == 4  # two looks at two benchmarks
    assert quick("main~1", "--resume") == 1
    assert f"{journal}: continuing after" in only_line(capfd)
    assert not journal.exists()


def interrupt(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


def test_more_time_may_be_given_to_a_run_that_is_continued_but_nothing_else_changed(
    quick: Gate, repository: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit("base")
    repository.commit("head")
    with monkeypatch.context() as patch:
        patch.setattr("bench.gate.verdicts.benchmark_result.weigh", interrupt)
        assert quick("main~1") == 130
    capfd.readouterr()
    assert quick("main~1", "--resume", "--threshold", "3") == 2
    assert "made with another configuration (different: threshold)" in only_line(capfd)
    assert quick("main", "--resume") == 2
    assert "(different: base)" in capfd.readouterr().err
    assert quick("main~1", "--resume", "--budget", "500") == 0


def test_the_self_test_is_written_and_shown(
    gate: Gate, repository: Any, local_workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit("the first")
    repository.commit("the second")
    assert gate("--self-test", "--trials", "1", "--json", "build/self-test.json") == 0
    document = json.loads((repository.path / "build" / "self-test.json").read_text())
    assert (document["kind"], document["revision"]["subject"]) == ("self-test", "the second")
    assert (repository.path / "build" / "operating" / "operating.png").exists()
    monkeypatch.setattr("bench.gate.command._show", lambda *_: None)
    assert gate("main~1", "--self-test", "--trials", "1", "--json", "build/other.json") == 0
    other = json.loads((repository.path / "build" / "other.json").read_text())
    assert other["revision"]["subject"] == "the first"
    assert other["budget_s"] == 60.0
    assert (document["select"] is None, other["select"] is None) == (False, False)
    assert gate("--self-test", "--trials", "1", "--select", "", "--json", "build/all.json") == 0
    assert json.loads((repository.path / "build" / "all.json").read_text())["select"] is None
