"""What `python -m bench.gate` writes is whole or not there, and where it cannot write it says so in time."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

SLOWER = {"ns": {"router | random | linear": 1_200_000}}

Gate = Callable[..., int]


def only_line(captured: pytest.CaptureFixture[str]) -> str:
    output, error = captured.readouterr()
    assert output == ""
    [line] = error.splitlines()
    assert line.startswith("gate: ")
    return line.removeprefix("gate: ")


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_measured(
    quick: Gate, repository: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    repository.commit()
    (repository.path / "file").touch()
    repository.commit_all()
    for path, why in (("file/gate.json", "File exists"), ("file/below/gate.json", "Not a directory")):
        assert quick("main~1", "--json", path) == 2
        assert only_line(capfd) == f"{path}: cannot be written: {why}"
    assert quick("main~1", "--json", "bench") == 2
    assert only_line(capfd) == "bench: cannot be written: Is a directory"
    assert not (repository.path / ".benchmarks" / "gate" / "stored").exists()


def full_disk(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["json.dump", "bench.record.output.os.fsync"])
def test_a_full_disk_leaves_the_earlier_result_and_the_journal(
    quick: Gate, repository: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    repository.commit("base")
    repository.commit("head", **SLOWER)
    result, journal = repository.path / "build" / "gate.json", repository.path / ".benchmarks" / "gate.jsonl"
    result.parent.mkdir()
    result.write_text("an earlier result")
    with monkeypatch.context() as patch:
        real = os.fsync
        if where == "json.dump":
            patch.setattr("bench.gate.command.json.dump", full_disk)
        else:
            patch.setattr(os, "fsync", lambda file: full_disk() if is_part(file) else real(file))
        assert quick("main~1") == 2
    assert only_line(capfd) == (
        "build/gate.json: cannot be written: No space left on device; --resume does that once it can be"
    )
    assert result.read_text() == "an earlier result"
    assert journal.exists()
    assert quick("main~1", "--resume") == 1
    assert json.loads(result.read_text())["outcome"]["exit_code"] == 1
    assert not journal.exists()
    assert [path.name for path in result.parent.iterdir()] == ["gate.json"]


def is_part(file: int) -> bool:
    return os.readlink(f"/proc/self/fd/{file}").endswith(".part")


def test_a_full_disk_under_the_journal_is_one_line(
    quick: Gate, repository: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit("base")
    repository.commit("head")
    with monkeypatch.context() as patch:
        synced, real = iter(range(5)), os.fsync
        patch.setattr(os, "fsync", lambda file: full_disk() if next(synced, None) is None else real(file))
        assert quick("main~1") == 2
    assert only_line(capfd).endswith("gate.jsonl: cannot be written: No space left on device")
    assert repository.worktrees == []
    assert quick("main~1") == 0


def test_without_its_report_the_result_is_kept_and_the_exit_code_true(
    gate: Gate, repository: Any, local_workers: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    repository.commit("base")
    repository.commit("head", **SLOWER)
    (repository.path / "build").mkdir()
    (repository.path / "build" / "gate.md").mkdir()
    assert gate("main~1") == 1
    assert "gate: measured and kept in build/gate.json, but not shown (see above)" in capfd.readouterr().err
