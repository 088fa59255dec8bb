"""Steps run within their time, and what is known of those that were: a run of the command goes on with the others."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gpu.steps import ROOT, Step

PACKAGES = ("routers", "harness", "bench")
STATE = "steps.state"
ENDING_S = 20.0
"""A step that is told to end, and does not, is killed after that."""
DONE, FAILED, CUT_OFF, LEFT_OUT = "done", "failed", "cut off", "left out"


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        status: one of the words above.
        seconds: what it took, in this run of the command.
        said: why, where it is not done.
    """

    status: str
    seconds: float = 0.0
    said: str = ""


class Steps:
    """The steps of a folder.

    Args:
        folder: of results, journals and logs.
        code: a digest of what is measured and measures: another code's results are no results.
    """

    def __init__(self, folder: Path, code: str) -> None:
        self._folder = folder
        self._code = code
        self._state: dict[str, Any] = {}
        path = folder / STATE
        if path.exists():
            self._state = json.loads(path.read_text("utf-8"))

    def is_done(self, step: Step) -> bool:
        """Whether an earlier run of the command has done this very step, with this code."""
        known = self._state.get(step.name, {})
        made = step.makes is None or step.makes.exists()
        return bool(not step.again and known.get("status") == DONE and self._is_of(step) and made)

    def run(self, step: Step, limit_s: float) -> Outcome:
        """Run a step for so many seconds at most; a step that is cut off goes on in the next run of the command."""
        if not self._is_of(step):
            for stale in filter(None, (step.journal, step.makes)):
                stale.unlink(missing_ok=True)
        self._note(step, CUT_OFF)
        started = time.monotonic()
        with (self._folder / f"{step.name}.log").open("wb") as log:
            process = subprocess.Popen(
                step.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            try:
                outcome = self._ended(step, process.wait(limit_s))
            except subprocess.TimeoutExpired:
                outcome = Outcome(CUT_OFF, said=f"it had {limit_s:.0f} s; the same command goes on with it")
            finally:
                _end(process)
        outcome = Outcome(outcome.status, time.monotonic() - started, outcome.said)
        self._note(step, outcome.status)
        return outcome

    def _ended(self, step: Step, code: int) -> Outcome:
        """How it went; benchmarks of which some failed have measured the others, and are done with."""
        if code == 0:
            return Outcome(DONE)
        said = f"exit code {code}: {self.last_line(step)}"
        return Outcome(DONE if code == 1 and step.makes and step.makes.exists() else FAILED, said=said)

    def last_line(self, step: Step) -> str:
        """What a step said last: of an error the line that pytest marks with it."""
        log = self._folder / f"{step.name}.log"
        lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("ERROR", "E  "))]
        return (errors[:1] or lines[-1:] or ["it said nothing"])[0][:300]

    def _is_of(self, step: Step) -> bool:
        known = self._state.get(step.name, {})
        return bool(known.get("command") == list(step.command) and known.get("code") == self._code)

    def _note(self, step: Step, status: str) -> None:
        self._state[step.name] = {"status": status, "command": list(step.command), "code": self._code}
        part = self._folder / f"{STATE}.part"
        part.write_text(json.dumps(self._state, indent=1), "utf-8")
        part.replace(self._folder / STATE)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its journal is whole whenever it ends. Not by an interrupt, which shells have ignored by what they run behind."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            continue


def code_digest(root: Path = ROOT) -> str:
    """SHA-256 of the Python files of what is measured and measures."""
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
