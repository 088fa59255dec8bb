"""The gate's workers as forks of a process that has torch: to import it takes each a second and a half of two.

What is imported of a checkout is imported by each worker itself, so this file imports nothing of the suite.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import reduction
from pathlib import Path
from typing import IO, Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch"])


class Descriptor:
    """An open file that a fork is to have, under whatever number it is there."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.number),)


def _received(sent: Any) -> int:
    return int(sent.detach())


def work(words: Sequence[str], folder: str, environment: Mapping[str, str], streams: Sequence[int]) -> None:
    """In the fork: `python -m WORDS` in a folder, with standard streams of its own."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(folder)
    os.environ.update(environment)
    sys.path.insert(0, folder)
    sys.argv = ["", *words[1:]]
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


class ForkedWorker:
    """Stands for `subprocess.Popen` of `python -m ...` where the gate starts a worker."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], stderr: IO[bytes], **_: Any
    ) -> None:
        assert command[1] == "-m"
        requests, answers = os.pipe(), os.pipe()
        streams = [Descriptor(each) for each in (requests[0], answers[1], stderr.fileno())]
        self._process = CONTEXT.Process(target=work, args=(command[2:], str(cwd), dict(env), streams), daemon=True)
        self._process.start()
        os.close(requests[0])
        os.close(answers[1])
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.stdin, self.stdout = os.fdopen(requests[1], "wb", buffering=0), os.fdopen(answers[0], "rb", buffering=0)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (status := self.returncode) is None:
            raise subprocess.TimeoutExpired("worker", timeout or 0)
        return status
