"""A repetition's process as the run sees it: it answers, or dies and leaves a line that says how."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from bench.process_tree import ENDING_S, MARK, end_tree, how_it_ended
from bench.repetition.repetition import Tick
from bench.timing.group import Block, GroupSpec
from bench.timing.placement import ENVIRONMENT

ROOT = Path(__file__).parents[2]
ALIVE_S = 1.0
"""How often a process that says nothing is looked at."""
SAID_BYTES = 1 << 16
"""Of what a process has printed, its end: the last line says why it died."""
EXCERPT = 300
"""Characters of that line."""


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
        self._mark = secrets.token_hex(16)
        self._process = spawn(folder, self._said, self._mark)
        self._received = b""

    def measure(self, spec: GroupSpec, calls_per_round: Mapping[str, int] | None, index: int, tick: Tick) -> Block:
        """Ask for a block and wait for it; raises `ProcessDiedError`."""
        request = {"group": spec.key, "calls_per_round": calls_per_round, "index": index}
        return Block(**self._ask(request, tick))

    def peak(self) -> float:
        """Ask for the machine's peak; raises `ProcessDiedError`."""
        return float(self._ask({}, lambda: None))

    def _ask(self, request: Mapping[str, Any], tick: Tick) -> Any:
        requests = self._process.stdin
        assert requests is not None
        try:
            requests.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._death() from None
        while True:
            said = json.loads(self._line())
            if "answer" in said:
                return said["answer"]
            for _ in range(said["tick"]):
                tick()

    def _line(self) -> bytes:
        """The next whole line. What a router has forked may keep the pipe open after the process itself has died."""
        answers = self._process.stdout
        assert answers is not None
        with selectors.DefaultSelector() as selector:
            selector.register(answers, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if selector.select(ALIVE_S):
                    if not (part := os.read(answers.fileno(), 1 << 16)):
                        raise self._death()
                    self._received += part
                elif self._process.poll() is not None:
                    raise self._death()
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _death(self) -> ProcessDiedError:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may have closed its answers and live on
            self._process.wait(ENDING_S)
        end_tree(self._process, self._mark)
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - SAID_BYTES))
        said = [line.strip() for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        return ProcessDiedError(": ".join([how_it_ended(self._process.returncode), *said[-1:]])[:EXCERPT])

    def __enter__(self) -> RepetitionProcess:
        return self

    def __exit__(self, *_: object) -> None:
        end_tree(self._process, self._mark)
        for stream in (self._process.stdin, self._process.stdout, self._said):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def spawn(folder: Path, said: IO[bytes], mark: str) -> subprocess.Popen[bytes]:
    """Start a worker, whose standard error is what it has said, in the current folder: a model's may be relative."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.repetition.worker", folder],
        # What it needs was fetched when it was checked.
        env=os.environ | ENVIRONMENT | {"PYTHONPATH": _path(), "HF_HUB_OFFLINE": "1", MARK: mark},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        bufsize=0,
        start_new_session=True,  # an interrupt at the keyboard is the run's, which then ends this one
    )


def _path() -> str:
    """Where this process finds modules, for one that has to find the same."""
    return os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry and Path(entry).exists())])
