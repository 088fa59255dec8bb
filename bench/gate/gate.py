"""A gate run: two revisions in, the JSON of their comparison out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.gate.document import describe, header, nothing_to_compare
from bench.gate.errors import NothingToCompareError
from bench.gate.revisions.facts import RevisionFacts
from bench.gate.revisions.git import Revision
from bench.gate.revisions.process import BASE, HEAD
from bench.gate.revisions.workspace import open_workspace
from bench.gate.settings import GateSettings
from bench.gate.verdicts.invariants import CHECK, TIME, Expectations
from bench.gate.verdicts.sampling import GateSampling
from bench.record.journal import Journal
from bench.record.machine import conditions
from harness.progress import Progress


def judge(
    root: Path,
    base: Revision,
    head: Revision,
    settings: GateSettings,
    expect: Sequence[str],
    notices: Sequence[str],
    journal: Journal,
    progress: Progress,
    other_inputs: Sequence[str] = (),
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
        other_inputs: those on which the revisions are given different texts.

    Returns:
        the gate's JSON, as docs/how-to/gate.md describes it.

    Raises:
        GateError: one line that names the mistake or the revision.
    """
    began, before = time.monotonic(), conditions()
    expectations = Expectations(expect)
    try:
        with open_workspace(root, base, head, settings, journal) as workspace:
            facts = workspace.facts
            of_time = [(name, figure) for name in facts.benchmarks for figure in (TIME, CHECK)]
            expectations.check([*facts.invariants[BASE], *facts.invariants[HEAD], *of_time])
            sampling = GateSampling(
                workspace,
                settings.plan,
                journal,
                progress,
                time.monotonic() - began,
                expected={name for name in facts.timed if expectations.cover(name, TIME)},
            )
            found = describe(_without_behaviour_on(facts, other_inputs), sampling.run(), expectations)
    except NothingToCompareError as error:
        found = nothing_to_compare(str(error))
    return {
        **header("gate", settings, before),
        "base": asdict(base),
        "head": asdict(head),
        "notices": list(notices),
        "elapsed_s": time.monotonic() - began,
        **found,
    }


def _without_behaviour_on(facts: RevisionFacts, inputs: Sequence[str]) -> RevisionFacts:
    """Without what routers do on some inputs; what is counted there stays."""
    invariants = {
        # Behaviour is stated for an input and a router, counts for a benchmark.
        side: {key: value for key, value in values.items() if key[0].split(" | ")[0] not in inputs}
        for side, values in facts.invariants.items()
    }
    return replace(facts, invariants=invariants)
