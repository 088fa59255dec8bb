"""A process that has everything imported and forks a `pytest bench` from itself for each request, to be killed.

An import of torch and transformers takes longer than the smallest run. As a program, in a folder with the sources, this
answers each line of standard input, a `Request` as JSON, with one line of standard output: the run's exit status
(negative: the signal that ended it) and the seconds it took. It is a process of its own because a fork of the pytest
that runs the tests would take along its threads' locks.
"""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

STEPS = {"open", "os.rename", "os.remove", "os.truncate", "json.dumps", "os.fsync"}


@dataclass(frozen=True)
class Request:
    """One run.

    Attributes:
        options: of pytest.
        output: the file that takes its standard output and error.
        kill_after: seconds until SIGKILL, or None.
        interrupts: seconds until each of some SIGINTs, as from a keyboard.
        kill_at: SIGKILL before the step of this index towards a file below `folder`, or None (see `kill_at_step`).
        steps: which of them count, by name; all that there are, if it is empty.
        folder: where the run's files are.
    """

    options: list[str]
    output: str
    kill_after: float | None = None
    interrupts: tuple[float, ...] = ()
    kill_at: int | None = None
    steps: tuple[str, ...] = ()
    folder: str = ""


def prepare() -> None:
    """Import what a run imports, from the current folder, and do once what would cost each run a second."""
    here = Path.cwd()
    sys.path.insert(0, str(here))
    import cpuinfo
    import scipy.stats  # noqa: F401
    import torch

    import bench.language_model.models
    import bench.repetition.process
    import bench.repetition.repetition
    import bench.session
    from bench.router.scenarios import count_flops
    from bench.timing.interleave import peak_gflops

    assert Path(bench.session.__file__).is_relative_to(here)
    count_flops(lambda: torch.eye(2) @ torch.eye(2))  # imports torch's compiler
    found = cpuinfo.get_cpu_info()
    cpuinfo.get_cpu_info = lambda: dict(found)
    bench.language_model.models.load_passages = cache(bench.language_model.models.load_passages)
    bench.language_model.models.load_passages()
    bench.repetition.repetition.peak_gflops = partial(peak_gflops, shapes=[(64, 64, 64)])
    bench.repetition.process.spawn = spawn
    gc.freeze()  # a child that collects would copy and go through all of this


class Worker:
    """A fork that works as a repetition's process, as `subprocess.Popen` shows one."""

    def __init__(self, folder: Path) -> None:
        requests, answers = os.pipe(), os.pipe()
        self.pid = os.fork()
        if not self.pid:
            code = 70
            try:
                os.setsid()
                os.dup2(requests[0], 0)
                os.dup2(answers[1], 1)
                os.closerange(3, 1024)  # the journal's lock among them
                sys.argv = ["", str(folder)]
                from bench.repetition.worker import main

                main()
                code = 0
            finally:
                os._exit(code)
        os.close(requests[0])
        os.close(answers[1])
        self.stdin, self.stdout = os.fdopen(requests[1], "wb", buffering=0), os.fdopen(answers[0], "rb")
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status, or None while it goes on."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has one."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("worker", timeout or 0)
            time.sleep(0.001)
        return status


def spawn(folder: Path, said: object, mark: str) -> Worker:
    """In place of a process that would import everything."""
    return Worker(folder)


def run(request: Request) -> int:
    """In the child: a `pytest bench`, with standard streams of its own."""
    os.setsid()  # so that its own children can be ended with it
    output = os.open(request.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream, file in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
        os.dup2(file, stream)
    if request.kill_at is not None:
        kill_at_step(request.kill_at, request.folder, request.steps or STEPS)
    import pytest

    return int(pytest.main(request.options))


def kill_at_step(index: int, folder: str, steps: Collection[str]) -> None:
    """End this process when it is about to take its step of that index, from 0, towards a file below the folder.

    Steps are the operations that Python audits, and two that it does not: what is written has just become JSON, which
    lies between the opening of a file and the writing; and what was written is to be flushed to the disk.
    """
    left = iter(range(index))

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in steps and str(arguments[0]).startswith(folder) and next(left, None) is None:
            os.killpg(0, signal.SIGKILL)

    sys.addaudithook(watch)
    dumps, fsync = json.dumps, os.fsync

    def audited_dumps(*arguments: Any, **options: Any) -> str:
        text = dumps(*arguments, **options)
        sys.audit("json.dumps", folder)
        return text

    def audited_fsync(file: int) -> None:
        sys.audit("os.fsync", folder)
        fsync(file)

    json.dumps, os.fsync = audited_dumps, audited_fsync


def kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has not come to `setsid` yet
        os.kill(pid, signal.SIGKILL)


def serve(request: Request) -> tuple[int, float]:
    """Fork a run, kill it if that is asked, and wait for it."""
    start = time.perf_counter()
    pid = os.fork()
    if not pid:
        code = 70
        try:
            code = run(request)
            sys.stdout.flush()
        finally:
            os._exit(code)
    ended = status = 0
    interrupts = list(request.interrupts)
    while (request.kill_after is not None or interrupts) and not ended:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if interrupts and not ended and time.perf_counter() - start >= interrupts[0]:
            os.kill(pid, signal.SIGINT)
            del interrupts[0]
            continue
        if not ended and request.kill_after is not None and time.perf_counter() - start >= request.kill_after:
            kill(pid)
            break
        time.sleep(0.001)
    if not ended:
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), time.perf_counter() - start


def main() -> None:
    """Answer until standard input ends."""
    prepare()
    for line in sys.stdin:
        print(json.dumps(serve(Request(**json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
