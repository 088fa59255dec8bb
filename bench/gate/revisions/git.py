"""The two revisions: resolved, and checked out into temporary worktrees."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.gate.errors import GateError

WORKER = Path("bench", "gate", "worker.py")


@dataclass(frozen=True)
class Revision:
    """A commit.

    Attributes:
        ref: as the user named it.
        commit: 40 hexadecimal digits.
        subject: the first line of its message.
    """

    ref: str
    commit: str
    subject: str

    def __str__(self) -> str:
        return f"{self.ref} ({self.commit[:10]})"


def find_root() -> Path:
    """The checkout that the current folder belongs to.

    Raises:
        GateError: it belongs to none, or git is not installed.
    """
    return Path(_git(Path(), "rev-parse", "--show-toplevel", fault="the gate compares revisions of a git checkout"))


def resolve(root: Path, ref: str) -> Revision:
    """The commit that a branch, tag or hash names.

    Raises:
        GateError: it names no commit.
    """
    fault = f"{ref!r} is no revision of {root}"
    if ref.startswith("-"):  # git would take it for an option
        raise GateError(fault)
    commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}", fault=fault)
    return Revision(ref, commit, _git(root, "log", "-1", "--format=%s", commit, fault=fault))


def is_dirty(root: Path) -> bool:
    """Whether the working tree differs from its commit."""
    return bool(_git(root, "status", "--porcelain", fault="the state of the working tree cannot be read"))


def changed_files(root: Path, base: Revision, head: Revision, *paths: str) -> list[str]:
    """Of the paths, files and folders, those files that differ."""
    fault = f"{base} and {head} cannot be compared"
    return _git(root, "diff", "--name-only", base.commit, head.commit, "--", *paths, fault=fault).splitlines()


@contextmanager
def worktree(root: Path, revision: Revision, path: Path) -> Iterator[Path]:
    """The revision's files at `path`, which is removed in the end; what a killed gate has left there is removed first.

    Raises:
        GateError: it cannot be checked out (a full disk), or it is older than the gate.
    """
    fault = f"{revision} cannot be checked out into {path}"
    _remove(root, path)
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GateError(f"{fault}: {error.strerror}") from None
        # By force twice: git locks a worktree while it makes it, and a gate that is killed then leaves it locked.
        _git(root, "worktree", "add", "--detach", "--force", "--force", str(path), revision.commit, fault=fault)
        if not (path / WORKER).is_file():
            raise GateError(f"{revision}: has no {WORKER}: it is older than the gate")
        yield path
    finally:
        _remove(root, path)


def _remove(root: Path, path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    _git(root, "worktree", "prune", fault="git's list of worktrees cannot be renewed")


def _git(root: Path, *arguments: str, fault: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            env=os.environ | {"LC_ALL": "C"},  # so that its complaints can be told from its reports of progress
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # a commit's message may be in any encoding
            check=False,
        )
    except FileNotFoundError:
        raise GateError("git is not installed") from None
    except OSError as error:
        raise GateError(f"{fault}: {error.strerror}") from None
    if done.returncode:
        cause = _cause(done.stderr)
        raise GateError(f"{fault}: {cause}" if cause else fault)
    return done.stdout.strip()


def _cause(stderr: str) -> str:
    """What git complains of, with the way out that it names below; or its last line."""
    said = [line.strip() for line in stderr.splitlines() if line.strip()]
    first = next((n for n, line in enumerate(said) if line.startswith(("fatal:", "error:"))), len(said) - 1)
    return " ".join(said[first:])
