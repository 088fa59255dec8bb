"""A repetition's process as the run sees it: it answers, or dies and leaves a line that says how."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from bench.process_tree import how_it_ended
from bench.repetition.repetition import Tick
from bench.timing.group import Block, GroupSpec
from bench.timing.placement import ENVIRONMENT

ROOT = Path(__file__).parents[2]


class ProcessDiedError(Exception):
    """A repetition's process ended before it had answered; the message says how, and its last words."""


class Measures(Protocol):
    """What measures the blocks of a repetition: a `Repetition` in this process, or one in a process of its own."""

    def measure(self, spec: GroupSpec, calls_per_round: Mapping[str, int] | None, index: int, tick: Tick) -> Block:
        """A block of a group."""

    def peak(self) -> float:
        """10⁹ FLOP/s of large matrix products."""


class RepetitionProcess:
    """A running worker. Leaving the context ends it and its children.

    Args:
        folder: with the plan and the inputs.
    """

    def __init__(self, folder: Path) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        self._process = spawn(folder, self._said)

    def measure(self, spec: GroupSpec, calls_per_round: Mapping[str, int] | None, index: int, tick: Tick) -> Block:
        """Ask for a block and wait for it; raises `ProcessDiedError`."""
        request = {"group": spec.key, "calls_per_round": calls_per_round, "index": index}
        return Block(**self._ask(request, tick))

    def peak(self) -> float:
        """Ask for the machine's peak; raises `ProcessDiedError`."""
        return float(self._ask({}, lambda: None))

    def _ask(self, request: Mapping[str, Any], tick: Tick) -> Any:
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        try:
            requests.write(json.dumps(request).encode() + b"\n")
            requests.flush()
        except BrokenPipeError:
            raise self._death() from None
        while line := answers.readline():
            said = json.loads(line)
            if "answer" in said:
                return said["answer"]
            for _ in range(said["tick"]):
                tick()
        raise self._death()

    def _death(self) -> ProcessDiedError:
        how = how_it_ended(self._process.wait())
        self._said.seek(0)
        said = [line.strip() for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        return ProcessDiedError(": ".join([how, *said[-1:]]))

    def __enter__(self) -> RepetitionProcess:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def spawn(folder: Path, said: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a worker, whose standard error is what it has said."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench.repetition.worker", folder],
        cwd=ROOT,
        # What it needs was fetched when it was checked.
        env=os.environ | ENVIRONMENT | {"PYTHONPATH": _path(), "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        start_new_session=True,  # an interrupt at the keyboard is the run's, which then ends this one
    )


def _path() -> str:
    """Where this process finds modules, for one that has to find the same."""
    return os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry and Path(entry).is_dir())])
