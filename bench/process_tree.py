"""A process ended with all that it has started, in whatever group or session that is by now."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

import psutil  # type: ignore[import-untyped]

MARK = "MOE_ROUTER_BENCH_PROCESS"
"""An environment variable with a value of its own for each process that is started: what that starts inherits it, and
is found by it after it has left the group and lost its parent."""
ENDING_S = 5.0
"""Seconds after which what goes on starting processes is left to itself."""


def end_tree(process: subprocess.Popen[bytes], mark: str) -> None:
    """Kill a process that leads a group, the group, its descendants, and whatever carries its mark; wait for its end.

    Args:
        process: started with `start_new_session=True`, and not waited for yet, or dead.
        mark: the value of `MARK` in its environment.
    """
    descendants = _descendants(process.pid)  # as long as it lives they can be told by their parents
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + ENDING_S
    while left := [each for each in {*descendants, *_marked(mark)} if _alive(each)]:
        for each in left:
            with contextlib.suppress(psutil.Error):
                each.kill()
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)


def how_it_ended(status: int) -> str:
    """A return code of `subprocess` in words."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal has no name
        return f"killed by signal {-status}"


def _descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return list(psutil.Process(pid).children(recursive=True))
    return []


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if each.environ().get(MARK) == mark:
                found.append(each)
    return found


def _alive(process: psutil.Process) -> bool:
    """Zombies, which wait for a parent to look at them, are not."""
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
