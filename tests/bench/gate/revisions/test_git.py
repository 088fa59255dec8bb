from __future__ import annotations

import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench.gate.errors import GateError
from bench.gate.revisions.git import Revision, changed_files, find_root, is_dirty, resolve, worktree


def test_a_branch_a_tag_and_a_hash_are_resolved(repository: Any) -> None:
    first = repository.commit("the first: with a colon")
    repository.git("tag", "-a", "v1", "-m", "an annotated tag is an object of its own")
    second = repository.commit("the second", noise=0.1)
    assert resolve(repository.path, "main") == Revision("main", second, "the second")
    for ref in ("v1", "main~1", first, first[:8]):
        assert resolve(repository.path, ref) == Revision(ref, first, "the first: with a colon")
    assert str(resolve(repository.path, "v1")) == f"v1 ({first[:10]})"
    assert asdict(resolve(repository.path, "v1")) == {
        "ref": "v1",
        "commit": first,
        "subject": "the first: with a colon",
    }


@pytest.mark.parametrize(
    "ref", ["no-such-branch", "-h", "--all", "", "main^{tree}", "main:fake.json", "main..main", "0" * 40]
)
def test_what_is_no_commit_is_refused_in_one_line(repository: Any, ref: str) -> None:
    repository.commit()
    with pytest.raises(GateError) as raised:
        resolve(repository.path, ref)
    assert f"{ref!r} is no revision of {repository.path}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_repository_without_a_commit_has_no_head(repository: Any) -> None:
    with pytest.raises(GateError, match="'HEAD' is no revision"):
        resolve(repository.path, "HEAD")


def test_the_root_is_found_from_below(repository: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.commit()
    monkeypatch.chdir(repository.path / "bench" / "gate")
    assert find_root() == repository.path


def test_outside_a_checkout_there_is_no_root(
    git_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GateError, match="compares revisions of a git checkout: fatal: not a git repository"):
        find_root()


def test_without_git_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GateError, match="git is not installed"):
        find_root()


def test_a_repository_of_another_owner_says_so_and_what_helps(repository: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.commit()
    monkeypatch.chdir(repository.path)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(
        GateError, match=r"fatal: detected dubious ownership in repository at .* safe.directory"
    ) as raised:
        find_root()
    assert "\n" not in str(raised.value)


def test_a_message_in_no_encoding_is_read(repository: Any) -> None:
    repository.commit()
    tree = repository.git("rev-parse", "main^{tree}")
    text = f"tree {tree}\nauthor a <a@b> 0 +0000\ncommitter a <a@b> 0 +0000\n\ncaf\xe9"
    command = ["git", "hash-object", "-t", "commit", "-w", "--stdin"]
    done = subprocess.run(command, cwd=repository.path, input=text.encode("latin-1"), capture_output=True, check=True)
    commit = done.stdout.decode().strip()
    assert resolve(repository.path, commit).subject == "caf\ufffd"


def test_dirty_or_not(repository: Any) -> None:
    repository.commit()
    assert not is_dirty(repository.path)
    (repository.path / "fake.json").write_text("{}\n")
    assert is_dirty(repository.path)
    repository.commit_all()
    assert not is_dirty(repository.path)
    (repository.path / "new").touch()
    assert is_dirty(repository.path)


def test_changed_files(repository: Any) -> None:
    repository.commit()
    (repository.path / "bench" / "README.md").touch()
    (repository.path / "pyproject.toml").touch()
    (repository.path / "other").touch()
    repository.commit_all()
    base, head = (resolve(repository.path, ref) for ref in ("main~1", "main"))
    assert changed_files(repository.path, base, head, "bench") == ["bench/README.md"]
    assert changed_files(repository.path, head, base, "pyproject.toml", "constraints.txt") == ["pyproject.toml"]
    assert changed_files(repository.path, head, head, "bench") == []


def test_a_worktree_has_the_revisions_files_and_goes_in_the_end(repository: Any) -> None:
    repository.commit("old", noise=0.5)
    repository.commit("new")
    path = repository.path / ".benchmarks" / "gate" / "base"
    with worktree(repository.path, resolve(repository.path, "main~1"), path) as checkout:
        assert (checkout / "fake.json").read_text() == '{"noise": 0.5}'
        assert len(repository.worktrees) == 1
    assert not path.exists()
    assert repository.worktrees == []
    assert not is_dirty(repository.path)


def test_two_worktrees_of_one_revision(repository: Any) -> None:
    repository.commit()
    revision = resolve(repository.path, "main")
    with (
        worktree(repository.path, revision, repository.path / ".benchmarks" / "a") as one,
        worktree(repository.path, revision, repository.path / ".benchmarks" / "b") as other,
    ):
        assert (one / "fake.json").read_text() == (other / "fake.json").read_text()
    assert repository.worktrees == []


def test_a_worktree_goes_after_an_exception(repository: Any) -> None:
    repository.commit()
    path = repository.path / ".benchmarks" / "base"

    def interrupted() -> None:
        with worktree(repository.path, resolve(repository.path, "main"), path) as checkout:
            (checkout / "half").write_text("written")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not path.exists()
    assert repository.worktrees == []


@pytest.mark.parametrize("files_gone", [False, True])
@pytest.mark.parametrize("in_the_middle", [False, True])
def test_what_a_killed_run_has_left_is_replaced(repository: Any, files_gone: bool, in_the_middle: bool) -> None:
    repository.commit("old", noise=0.5)
    repository.commit("new")
    path = repository.path / ".benchmarks" / "base"
    repository.git("worktree", "add", "--detach", str(path), "main~1")
    (path / "left over").touch()
    if in_the_middle:  # git holds a worktree locked while it makes it
        (repository.path / ".git" / "worktrees" / "base" / "locked").write_text("initializing")
    if files_gone:
        shutil.rmtree(path)
    with worktree(repository.path, resolve(repository.path, "main"), path) as checkout:
        assert (checkout / "fake.json").read_text() == "{}"
        assert not (checkout / "left over").exists()
    assert not path.exists()
    assert repository.worktrees == []


def test_a_revision_older_than_the_gate_is_refused(repository: Any) -> None:
    (repository.path / "README").touch()
    repository.commit_all()
    path = repository.path / ".benchmarks" / "base"
    with (
        pytest.raises(GateError, match=r"main \(\w{10}\): has no bench/gate/worker.py: it is older than the gate"),
        worktree(repository.path, resolve(repository.path, "main"), path),
    ):
        pass
    assert not path.exists()
    assert repository.worktrees == []


@pytest.mark.parametrize("name", ["a file", "a file/below it", "a file/below/below it"])
def test_a_place_that_cannot_be_written_is_one_line(repository: Any, tmp_path: Path, name: str) -> None:
    repository.commit()
    (tmp_path / "a file").touch()
    with (
        pytest.raises(GateError, match=r"main \(\w{10}\) cannot be checked out into .*a file") as raised,
        worktree(repository.path, resolve(repository.path, "main"), tmp_path / name),
    ):
        pass
    assert "\n" not in str(raised.value)
    assert repository.worktrees == []
