"""One gate: two revisions in, its JSON out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bench.gate.document import SCHEMA, describe, nothing_to_compare
from bench.gate.errors import NothingToCompareError
from bench.gate.revisions.git import Revision
from bench.gate.revisions.workspace import open_workspace
from bench.gate.settings import GateSettings
from bench.gate.verdicts.invariants import CHECK, TIME, Expectations
from bench.gate.verdicts.process_triple import BASE, HEAD
from bench.gate.verdicts.sampling import GateSampling, Progress
from bench.record.journal import Journal
from bench.record.machine import conditions, fingerprint
from bench.timing.interleave import threads


def judge(
    root: Path,
    base: Revision,
    head: Revision,
    settings: GateSettings,
    expect: Sequence[str],
    notices: Sequence[str],
    journal: Journal,
    progress: Progress,
) -> dict[str, Any]:
    """Compare two revisions.

    Args:
        root: the checkout.
        base: what is compared with.
        head: what is judged.
        settings: amounts and thresholds.
        expect: figures that will change, `FIGURE` or `ROUTER:FIGURE`.
        notices: sentences for the reader of the result.
        journal: keeps finished measurements.
        progress: makes bars.

    Returns:
        the gate's JSON, as README.md beside this file describes it.

    Raises:
        GateError, WorkerError: one line that names the mistake or the revision.
    """
    began, before = time.monotonic(), conditions()
    expectations = Expectations(expect)
    try:
        with open_workspace(root, base, head, settings, journal) as workspace:
            facts = workspace.facts
            of_time = [(name, figure) for name in facts.benchmarks for figure in (TIME, CHECK)]
            expectations.check([*facts.figures[BASE], *facts.figures[HEAD], *of_time])
            comparison = GateSampling(workspace.job(), settings.plan, journal, progress, time.monotonic() - began)
            found = describe(facts, comparison.run(), expectations)
    except NothingToCompareError as error:
        found = nothing_to_compare(str(error))
    return {
        **header("gate", settings, before),
        "base": base.as_dict(),
        "head": head.as_dict(),
        "notices": list(notices),
        "elapsed_s": time.monotonic() - began,
        **found,
    }


def header(kind: str, settings: GateSettings, before: dict[str, Any]) -> dict[str, Any]:
    """What the JSON of every kind begins with."""
    with threads(settings.threads):
        machine = fingerprint()
    return {
        "schema": SCHEMA,
        "kind": kind,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **settings.as_dict(),
        "torch": torch.__version__,
        "machine": machine,
        "conditions": {"before": before, "after": conditions()},
    }
