"""Whatever a revision's worker does: exit code 2 and one line that names the revision, in time.

`HOSTILE_WORKERS=100 pytest tests/bench/gate/test_hostile.py` tries a hundred of them.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_SPEC = importlib.util.spec_from_file_location("hostile_workers", Path(__file__).with_name("hostile_workers.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
hostile = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hostile)

COUNT = int(os.environ.get("HOSTILE_WORKERS", "14"))
LIMIT_S = 4.0


def show(worker: dict[str, str]) -> str:
    return " ".join(f"{verb}: {how}" for verb, how in worker.items())[:60]


@pytest.mark.parametrize("worker", list(hostile.hostile_workers(COUNT)), ids=show)
def test_a_hostile_worker_is_no_verdict(
    gate: Callable[..., int], repository: Any, capfd: pytest.CaptureFixture[str], worker: dict[str, str]
) -> None:
    repository.commit("base")
    commit = repository.commit("head", on=worker)
    began = time.monotonic()
    assert gate("main~1", "--limit", str(LIMIT_S)) == 2
    assert time.monotonic() - began < LIMIT_S + 10
    output, error = capfd.readouterr()
    assert output == ""
    [line] = error.splitlines()
    assert line.startswith(f"gate: head HEAD ({commit[:10]}): ")
    assert line.isprintable()
    assert len(line) < 1000
    assert repository.worktrees == []
