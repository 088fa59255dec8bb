"""The gate on real revisions of this suite: nothing here depends on how long anything took."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reports.loading.schema import json_schema
from tests.bench.gate.forked_workers import ForkedWorker

ROOT = Path(__file__).parents[3]
SOURCES = ("routers", "harness", "bench", "conftest.py", "pyproject.toml")
LINEAR = "router | random | linear"
FORWARD = "        return expert_product("


@pytest.fixture
def sources(tmp_path: Path, git_environment: None) -> Path:
    """A repository with this suite as its first commit."""
    path = tmp_path / "sources"
    path.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, path)
    (path / ".gitignore").write_text(".benchmarks/\nbuild/\n__pycache__/\n")
    git(path, "init", "--quiet", "--initial-branch", "main")
    commit(path, "as it is")
    return path


def git(path: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=path, check=True)


def commit(path: Path, message: str) -> None:
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message", message)


@pytest.fixture
def gate(sources: Path, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Replaces in files, commits that and compares it with the commit before, by the gate of this checkout."""

    monkeypatch.chdir(sources)

    def run(changes: dict[str, tuple[str, str]], select: str, *options: str) -> int:
        for name, (old, new) in changes.items():
            text = (sources / name).read_text()
            assert text.count(old) == 1
            (sources / name).write_text(text.replace(old, new))
        commit(sources, "a change")
        code = command("main~1", "--select", f"bench_router and random and ({select})", *options)
        assert not (sources / ".benchmarks" / "gate" / "base").exists()
        assert not (sources / ".benchmarks" / "gate" / "head").exists()
        return code

    return run


def document(sources: Path) -> dict[str, Any]:
    return json.loads((sources / "build" / "gate.json").read_text())  # type: ignore[no-any-return]


def test_a_comment_is_no_regression(gate: Callable[..., int], sources: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # Said to change is time alone: what a test finds must not depend on it, however unlikely an alarm is.
    comment = {"routers/scorers/linear.py": (FORWARD, "        # as ever\n" + FORWARD)}
    code = gate(comment, "linear", "--budget", "1", "--expect", "time")
    output, error = capfd.readouterr()
    assert (code, error) == (0, "")
    assert LINEAR in output
    found = document(sources)
    Draft202012Validator(json_schema("gate")).validate(found)
    [row] = found["rows"]
    assert row["benchmark"] == LINEAR
    assert row["verdict"] in {"SAME", "UNCERTAIN"}
    assert (row["pairs"], row["ratio"]["estimate"] > 0) == (2, True)
    assert found["figures"] == []
    assert found["figures_compared"] > 10
    assert (found["added"], found["removed"]) == ([], [])
    assert not (sources / ".benchmarks" / "gate.jsonl").exists()


def test_more_work_moves_the_flops_and_a_wrong_router_fails(
    gate: Callable[..., int], sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = "        expert_product(as_parameter_dtype(hidden_states, self.weight), self.weight)\n"
    changes = {
        "routers/scorers/linear.py": (FORWARD, 2 * again + FORWARD),
        # Alone, a token would get other probabilities.
        "routers/scorers/mlp.py": (
            "        return in_blocks(self._block_logits, hidden_states)\n",
            "        return self._block_logits(hidden_states) * hidden_states.abs().mean()\n",
        ),
    }
    monkeypatch.setattr("bench.gate.verdicts.sampling.FIRST_LOOKS", 0)  # nothing is timed
    assert gate(changes, "(linear or mlp) and not hadamard", "--expect", "peak_memory") == 1
    found, flops = document(sources), 2 * 32 * 64 * 8
    moved = [figure for figure in found["figures"] if figure["benchmark"] == LINEAR and not figure["expected"]]
    assert moved == [{"benchmark": LINEAR, "figure": "flops", "base": flops, "head": 3 * flops, "expected": False}]
    [row] = found["rows"]
    assert (row["router"], row["verdict"]) == ("mlp", "FAILED")
    assert row["reason"].startswith("fails in head HEAD (")
    assert "base" not in row["reason"]
    assert found["outcome"]["reasons"] == [
        f"{row['benchmark']} {row['reason']}",
        f"{LINEAR}: flops moved from {flops} to {3 * flops}",
    ]


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seventeen workers need not import torch seventeen times; the first test here has processes of their own."""
    stand_in = SimpleNamespace(Popen=ForkedWorker, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr("bench.gate.revisions.process.subprocess", stand_in)


def test_what_sleeps_is_slower(forked: None, gate: Callable[..., int], sources: Path) -> None:
    """Too slow for the budget: what costs too much to confirm was once no regression."""
    sleep = "        __import__('time').sleep(0.01)\n"
    changes = {"routers/scorers/linear.py": (FORWARD, sleep + FORWARD)}
    assert gate(changes, "linear", "--budget", "1") == 1
    [row] = document(sources)["rows"]
    assert (row["benchmark"], row["verdict"]) == (LINEAR, "SLOWER")
    assert row["ratio"]["low"] > 10
    assert row["pairs"] == 3


def test_a_revision_that_does_not_import_is_named(
    gate: Callable[..., int], sources: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert gate({"routers/scorers/linear.py": (FORWARD, "        return this is no Python(")}, "linear") == 2
    output, error = capfd.readouterr()
    assert (output, error.count("\n")) == ("", 1)
    assert error.startswith("gate: head HEAD (")
    assert "SyntaxError" in error
    assert not (sources / "build" / "gate.json").exists()
