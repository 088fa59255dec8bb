"""Runs of `pytest bench` that are forks of a process which has everything imported (`zygote.py` beside this file).

They work in a copy of the sources: a journal is continued by unchanged code only, and somebody may be editing it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCES = ("routers", "harness", "bench", "conftest.py", "pyproject.toml")
SMALL = "supplemental and (linear or hash)"


@dataclass(frozen=True)
class Outcome:
    """How a run ended: exit status (negative: a signal), seconds, what it said."""

    code: int
    seconds: float
    output: str


class Zygote:
    """Runs `pytest bench` in forks of a process."""

    def __init__(self, sources: Path, output: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
        environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        self.output = output
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("zygote.py")],
            cwd=sources,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        files: Files,
        select: str | None,
        *options: str,
        kill_after: float | None = None,
        kill_at: int | None = None,
        steps: Sequence[str] = (),
        interrupts: Sequence[float] = (),
    ) -> Outcome:
        """A run of all benchmarks, or of those selected, to its end, or to its kill or interrupt (see `Request`)."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        arguments = ["bench", "--preset", "smoke", "-q", "-p", "no:cacheprovider", "-p", "pytest_benchmark.plugin"]
        arguments += [] if select is None else ["-k", select]
        arguments += ["--journal", str(files.journal), "--benchmark-json", str(files.json), *options]
        request = {"options": arguments, "output": str(self.output), "folder": str(files.folder)}
        request |= {"kill_after": kill_after, "interrupts": list(interrupts), "kill_at": kill_at, "steps": list(steps)}
        self.output.write_text("")  # a run may be killed before it opens it
        print(json.dumps(request), file=self.process.stdin, flush=True)
        code, seconds = json.loads(self.process.stdout.readline())
        return Outcome(code, seconds, self.output.read_text(errors="replace"))

    def close(self) -> None:
        self.process.communicate()


@dataclass(frozen=True)
class Files:
    """What runs leave in a folder."""

    folder: Path

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def json(self) -> Path:
        return self.folder / "bench.json"

    def lines(self) -> list[bytes]:
        """The whole lines of the journal; the first is its configuration."""
        return self.journal.read_bytes().split(b"\n")[:-1] if self.journal.exists() else []

    def document(self) -> dict[str, Any] | None:
        """The JSON, if it is there; half of one is an error."""
        return json.loads(self.json.read_text()) if self.json.exists() else None


def copy_sources(folder: Path) -> Path:
    """What a run is made of, in a folder of its own."""
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def killed_in_the_middle(zygote: Zygote, files: Files, select: str, *options: str, lines: int = 4) -> list[bytes]:
    """The lines that a run which was killed in the middle leaves in its journal, each of which is flushed."""
    outcome = zygote.run(files, select, *options, kill_at=lines, steps=["os.fsync"])
    assert (outcome.code, len(files.lines())) == (-signal.SIGKILL, lines), outcome.output
    return files.lines()
