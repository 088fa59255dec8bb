"""A worker process as the gate sees it: it runs in a revision's checkout, and answers requests, dies or hangs."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from bench.gate.errors import WorkerError, one_line
from bench.gate.revisions.answers import expected_instead, read_answer
from bench.process_tree import MARK, end_tree, how_it_ended
from bench.timing.placement import ENVIRONMENT

BASE, TWIN, HEAD = "base", "twin", "head"
SIDES = (BASE, TWIN, HEAD)
"""The processes that are compared: two of the base revision, whose ratio is noise, and one of the head revision."""

MOST_BYTES = 8 << 20
"""Of an answer; that of a thousand benchmarks has a tenth of it."""
SAID_BYTES = 1 << 16
"""Of what a worker has printed, its end: the last line says why it died."""
EXCERPT = 300
"""Characters of what a worker said that go into a message."""


class WorkerProcess:
    """A running worker. Leaving the context ends it and its children.

    Args:
        name: of the revision, for messages.
        checkout: the folder that it runs in and imports from.
        options: of `python -m bench.gate.worker`.
        limit_s: how long one answer may take, in seconds, from the request to its last byte.
    """

    def __init__(self, name: str, checkout: Path, options: Sequence[str], limit_s: float) -> None:
        self.name = name
        self._limit_s = limit_s
        self._mark = secrets.token_hex(16)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.gate.worker", *options],
            cwd=checkout,
            # First in the path even where `-m` does not put the current folder there.
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(checkout), MARK: self._mark},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            bufsize=0,
            start_new_session=True,  # so that its children can be ended with it
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        os.set_blocking(self._requests.fileno(), False)  # a worker that reads nothing must not stop the gate
        self._request: tuple[str, dict[str, Any]] = "", {}
        self._deadline = 0.0
        self._ended = False

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Send a request and wait for the answer.

        Raises:
            WorkerError: it reported an error, answered what was not asked, died, or took too long.
        """
        self.send(verb, **arguments)
        return self.receive()

    def send(self, verb: str, **arguments: Any) -> None:
        """Send a request; `receive` has its answer."""
        self._request = verb, arguments
        self._deadline = time.monotonic() + self._limit_s
        line = json.dumps({"do": verb} | arguments).encode() + b"\n"
        while line:
            try:
                line = line[os.write(self._requests.fileno(), line) :]
            except BlockingIOError:
                self._wait(self._requests, selectors.EVENT_WRITE)
            except BrokenPipeError:
                raise self._death() from None

    def receive(self) -> Any:
        """The answer to the last request."""
        line = self._read_line()
        try:
            kind, answer = read_answer(line)
        except ValueError:
            raise WorkerError(f"{self.name}: answered {line[:80]!r} while asked to {self._doing}") from None
        if kind == "error":
            raise WorkerError(f"{self.name}: {one_line(str(answer), EXCERPT)} (while asked to {self._doing})")
        if expected := expected_instead(*self._request, answer):
            said = one_line(json.dumps(answer), 80)
            raise WorkerError(f"{self.name}: answered {said} while asked to {self._doing}, expected {expected}")
        return answer

    @property
    def _doing(self) -> str:
        verb, arguments = self._request
        return " ".join([verb, *(value for value in arguments.values() if isinstance(value, str))])

    def _read_line(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n"):
            self._wait(self._answers, selectors.EVENT_READ)
            part = os.read(self._answers.fileno(), 1 << 16)
            if not part:
                raise self._death()
            line += part
            if len(line) > MOST_BYTES:
                self.kill()
                raise WorkerError(
                    f"{self.name}: more than {MOST_BYTES:,} bytes of an answer while asked to {self._doing}; ended"
                )
        return bytes(line)

    def _wait(self, stream: IO[bytes], event: int) -> None:
        """Until a pipe can be read or written; not beyond the deadline, however much goes through it."""
        left = self._deadline - time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(stream, event)
            if left <= 0 or not selector.select(left):
                self.kill()
                raise WorkerError(
                    f"{self.name}: no answer within {self._limit_s:g} s while asked to {self._doing}; ended"
                )

    def _death(self) -> WorkerError:
        # A dead worker's status is its own, not that of the signal.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.2)
        self.kill()
        how = how_it_ended(self._process.returncode)
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - SAID_BYTES))
        said = [line for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        last = f": {one_line(said[-1], EXCERPT)}" if said else ""
        return WorkerError(f"{self.name}: its worker died ({how}) while asked to {self._doing}{last}")

    def kill(self) -> None:
        """End the process and all that it has started."""
        if not self._ended:  # later its number may be another's
            end_tree(self._process, self._mark)
        self._ended = True

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for stream in (self._requests, self._answers, self._said):
            stream.close()


StartWorker = Callable[[str], WorkerProcess]
"""Starts a worker process for one of SIDES."""


def ask_all(
    workers: Mapping[str, WorkerProcess], verb: str, arguments: Callable[[str], dict[str, Any]]
) -> dict[str, Any]:
    """Ask all workers at once, which is for requests that time nothing.

    Args:
        workers: side -> its worker.
        verb: what is asked of every worker.
        arguments: side -> the request's arguments.

    Returns:
        side -> its worker's answer.

    Raises:
        WorkerError: a worker failed, died or was too slow.
    """
    for side, worker in workers.items():
        worker.send(verb, **arguments(side))
    return {side: worker.receive() for side, worker in workers.items()}
