from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.process_tree import MARK, end_tree, how_it_ended

PARENT = """
import os, subprocess, sys, time
own = subprocess.Popen(["sleep", "600"])
away = subprocess.Popen(["sleep", "600"], start_new_session=True, env={})
subprocess.run(["sh", "-c", "setsid sleep 600 > /dev/null 2>&1 & echo $! > orphan"])
print(own.pid, away.pid, open("orphan").read().strip(), flush=True)
time.sleep(600)
"""


def test_children_are_ended_wherever_they_went(tmp_path: Path) -> None:
    neighbour = subprocess.Popen(["sleep", "600"], start_new_session=True, env=os.environ | {MARK: "another"})
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        cwd=tmp_path,
        env=os.environ | {MARK: "this one"},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    children = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
    assert len(children) == 3
    time.sleep(0.2)  # by then the orphan has a session of its own
    end_tree(process, "this one")
    assert process.returncode == -9
    assert not [each for each in children if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    assert neighbour.poll() is None
    end_tree(neighbour, "another")
    assert neighbour.returncode == -9
    end_tree(neighbour, "another")  # of what is dead there is nothing to end
    process.stdout.close()


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "killed by SIGKILL"), (-37, "killed by signal 37")],
)
def test_how_a_process_ended(status: int, words: str) -> None:
    assert how_it_ended(status) == words
