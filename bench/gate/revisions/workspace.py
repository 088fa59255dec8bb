"""The workspace of a gate run: both revisions checked out, asked for their facts, and ready to start workers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.gate.result_store import ResultStore
from bench.gate.revisions.facts import RevisionFacts, gather_facts
from bench.gate.revisions.git import Revision, worktree
from bench.gate.revisions.process import BASE, HEAD, TWIN, StartWorker, WorkerProcess
from bench.gate.settings import GateSettings

FOLDER = Path(".benchmarks", "gate")
"""Of worktrees, inputs and experts; git ignores it, and a gate's journal keeps a second gate away from it."""


@dataclass(frozen=True)
class Workspace:
    """Where both revisions are measured.

    Attributes:
        start: starts a worker for a side.
        facts: what both revisions said.
    """

    start: StartWorker
    facts: RevisionFacts


@contextmanager
def open_workspace(
    root: Path, base: Revision, head: Revision, settings: GateSettings, store: ResultStore
) -> Iterator[Workspace]:
    """Check out both revisions and gather their facts; the worktrees are removed in the end.

    Raises:
        GateError, NothingToCompareError: as `gather_facts` and `worktree` do.
    """
    revisions = {BASE: base, TWIN: base, HEAD: head}
    with ExitStack() as stack:
        checkouts = {
            side: stack.enter_context(worktree(root, revisions[side], root / FOLDER / side)) for side in (BASE, HEAD)
        }
        checkouts[TWIN] = checkouts[BASE]

        def start(side: str) -> WorkerProcess:
            name = f"{'head' if side == HEAD else 'base'} {revisions[side]}"
            return WorkerProcess(name, checkouts[side], settings.worker_options(), settings.limit_s)

        stored = root / FOLDER / "stored"
        stack.callback(shutil.rmtree, stored, ignore_errors=True)  # some hundred megabytes
        yield Workspace(start, gather_facts(start, checkouts, stored, store))
