"""A worker process as the gate sees it: it runs in a revision's checkout, and answers requests, dies or hangs."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.gate.errors import WorkerError
from bench.timing.placement import ENVIRONMENT

BASE, TWIN, HEAD = "base", "twin", "head"
SIDES = (BASE, TWIN, HEAD)
"""The processes that are compared: two of the base revision, whose ratio is noise, and one of the head revision."""


class WorkerProcess:
    """A running worker. Leaving the context ends it and its children.

    Args:
        name: of the revision, for messages.
        checkout: the folder that it runs in and imports from.
        options: of `python -m bench.gate.worker`.
        limit_s: how long one answer may take, in seconds.
    """

    def __init__(self, name: str, checkout: Path, options: Sequence[str], limit_s: float) -> None:
        self.name = name
        self._limit_s = limit_s
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.gate.worker", *options],
            cwd=checkout,
            # First in the path even where `-m` does not put the current folder there.
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            bufsize=0,
            start_new_session=True,  # so that its children can be ended with it
        )
        self._doing = ""
        self._deadline = 0.0

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Send a request and wait for the answer.

        Raises:
            WorkerError: it reported an error, died, or took too long.
        """
        self.send(verb, **arguments)
        return self.receive()

    def send(self, verb: str, **arguments: Any) -> None:
        """Send a request; `receive` has its answer."""
        self._doing = " ".join([verb, *(value for value in arguments.values() if isinstance(value, str))])
        self._deadline = time.monotonic() + self._limit_s
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": verb} | arguments).encode() + b"\n")
        except BrokenPipeError:
            raise self._death() from None

    def receive(self) -> Any:
        """The answer to the last request."""
        line = self._read_line()
        try:
            [(kind, answer)] = json.loads(line).items()
        except (ValueError, AttributeError):
            raise WorkerError(f"{self.name}: answered {line[:80]!r} while asked to {self._doing}") from None
        if kind == "error":
            raise WorkerError(f"{self.name}: {answer} (while asked to {self._doing})")
        return answer

    def _read_line(self) -> bytes:
        assert self._process.stdout is not None
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, self._deadline - time.monotonic())):
                    self.kill()
                    raise WorkerError(
                        f"{self.name}: no answer within {self._limit_s:g} s while asked to {self._doing}; ended"
                    )
                part = os.read(self._process.stdout.fileno(), 1 << 16)
                if not part:
                    raise self._death()
                line += part
        return line

    def _death(self) -> WorkerError:
        # A dead worker's status is its own, not that of the signal.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.2)
        self.kill()
        status = self._process.returncode
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
        self._said.seek(0)
        said = [line for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        last = f": {said[-1].strip()}" if said else ""
        return WorkerError(f"{self.name}: its worker died ({how}) while asked to {self._doing}{last}")

    def kill(self) -> None:
        """End the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            if stream is not None:
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
