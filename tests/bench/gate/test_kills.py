"""`python -m bench.gate`, killed: nothing is left of it, and the next run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]

FORKER = """
import json, os, sys
import bench.gate.command as gate
from bench.record.machine import describe_machine
describe_machine()  # asks for the processor, which takes a second once
for line in sys.stdin:
    folder, arguments = json.loads(line)
    pid = os.fork()
    if not pid:
        code = 70
        os.dup2(2, 1)
        os.chdir(folder)
        try:
            code = gate.main(arguments)
        finally:
            os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Forker:
    """Gates in forks of a process that has everything imported, to be killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKER],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, folder: Path, *arguments: str) -> int:
        """Its process."""
        assert self._process.stdin is not None
        print(json.dumps([str(folder), arguments]), file=self._process.stdin, flush=True)
        return self._number()

    def wait(self) -> int:
        """Its exit code."""
        return self._number()

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    forker = Forker()
    yield forker
    forker.end()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Zombies, which wait for a parent to look at them, are not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_it_leaves_no_process_and_the_next_run_goes_on(
    forker: Forker, repository: Any, number: signal.Signals
) -> None:
    log, journal = repository.path.parent / "log", repository.path / ".benchmarks" / "gate.jsonl"
    for _ in range(2):
        repository.commit(pause_s=0.02, log=str(log))
    pid = forker.start(repository.path, "main~1", "--preset", "smoke")
    wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 3)
    assert len(repository.worktrees) == 2
    os.kill(pid, number)
    assert forker.wait() == (130 if number == signal.SIGTERM else -number)
    workers = {json.loads(line)[0] for line in log.read_text().splitlines()}
    assert len(workers) >= 5
    wait_for(lambda: not any(map(alive, workers)))
    assert (repository.worktrees == []) is (number == signal.SIGTERM)
    forker.start(repository.path, "main~1", "--preset", "smoke", "--resume")
    assert forker.wait() == 0
    assert repository.worktrees == []
    assert not journal.exists()
    document = json.loads((repository.path / "build" / "gate.json").read_text())
    assert [row["verdict"] for row in document["rows"]] == ["SAME", "SAME"]
