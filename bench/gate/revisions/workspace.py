"""Two revisions, checked out and asked for their facts: what a comparison is made on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.gate.revisions.facts import RevisionFacts, gather_facts
from bench.gate.revisions.git import Revision, worktree
from bench.gate.revisions.process import WorkerProcess
from bench.gate.settings import GateSettings
from bench.gate.verdicts.process_triple import BASE, HEAD, TWIN, StartWorker
from bench.gate.verdicts.sampling import Job, ResultStore

FOLDER = Path(".benchmarks", "gate")
"""Of worktrees, inputs and experts; git ignores it, and a gate's journal keeps a second gate away from it."""


@dataclass(frozen=True)
class Workspace:
    """Where a gate works.

    Attributes:
        start: starts a worker for a side.
        facts: what both revisions said.
        settings: the user's.
    """

    start: StartWorker
    facts: RevisionFacts
    settings: GateSettings

    def job(self, slowdowns: Mapping[str, float] | None = None) -> Job:
        """The comparison of everything that is timed."""
        return Job(self.start, self.facts.folders, self.facts.timed, self.settings.rules, slowdowns or {})


@contextmanager
def open_workspace(
    root: Path, base: Revision, head: Revision, settings: GateSettings, kept: ResultStore
) -> Iterator[Workspace]:
    """Check out both revisions and gather their facts; the worktrees are removed in the end.

    Raises:
        GateError, NothingToCompareError, WorkerError: as `gather_facts` and `worktree` do.
    """
    revisions = {BASE: base, TWIN: base, HEAD: head}
    with ExitStack() as stack:
        checkouts = {
            side: stack.enter_context(worktree(root, revisions[side], root / FOLDER / side)) for side in (BASE, HEAD)
        }
        checkouts[TWIN] = checkouts[BASE]

        def start(side: str) -> WorkerProcess:
            return WorkerProcess(
                f"{'head' if side == HEAD else 'base'} {revisions[side]}",
                checkouts[side],
                settings.worker_options(),
                settings.limit_s,
            )

        stored = root / FOLDER / "stored"
        stack.callback(shutil.rmtree, stored, ignore_errors=True)  # some hundred megabytes
        yield Workspace(start, gather_facts(start, checkouts, stored, kept), settings)
