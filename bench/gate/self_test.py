"""The self-test of the gate: its rate of false alarms, and how often it finds a slowdown that is known to be there."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from bench.gate.document import header
from bench.gate.result_store import PrefixedStore, ResultStore
from bench.gate.revisions.git import Revision
from bench.gate.revisions.workspace import open_workspace
from bench.gate.settings import GateSettings
from bench.gate.verdicts.benchmark_result import BenchmarkResult
from bench.gate.verdicts.sampling import GateSampling
from bench.record.machine import conditions
from bench.timing.intervals import CONFIDENCE
from harness.progress import Progress

SLOWDOWNS = (0.02, 0.05, 0.10, 0.20, 1.0, 9.0, 999.0)
"""Shares of a call's own time: the last three make it 2, 10 and 1000 times as slow."""
EQUAL_PER_SLOWED = 3
"""A comparison of slowed code takes longer and shows five slowdowns at once."""
SELECT = (
    "(bench_router and random and linear) or (bench_router and contextual and (attention or mlp) and not hadamard) "
    "or ((bench_token or bench_training) and contextual and linear)"
)
"""Five benchmarks, of one to three milliseconds, of every scenario."""


@dataclass(frozen=True)
class Finding:
    """The verdict on one benchmark in one trial, whose slowdown is known."""

    benchmark: str
    slowdown: float
    verdict: str
    ratio: float
    pairs: int


def self_test(
    root: Path, revision: Revision, settings: GateSettings, trials: int, store: ResultStore, progress: Progress
) -> dict[str, Any]:
    """Compare a revision with itself: as it is, and, every third time, also with its benchmarks made slower.

    Each is a whole comparison, fresh processes and budget included. The benchmarks take turns with the slowdowns, so
    that seven slowed comparisons show each benchmark with each of them.

    Args:
        root: the checkout.
        revision: the code that is compared with itself.
        settings: the settings of one trial, its budget too.
        trials: how many of equal code; a third as many of slowed code.
        store: finished measurements.
        progress: makes bars.

    Returns:
        the self-test's JSON, as docs/how-to/gate.md describes it.
    """
    began, before = time.monotonic(), conditions()
    equal: list[list[Finding]] = []
    slowed: list[Finding] = []
    with open_workspace(root, revision, revision, settings, PrefixedStore(store, "workspace")) as workspace:
        names = workspace.facts.timed

        def findings(what: str, slowdowns: Mapping[str, float]) -> list[Finding]:
            def bar(step: str, steps: int) -> Any:
                return progress(f"{what}, {step}", steps)

            part = PrefixedStore(store, what)
            # All are expected: a finding of every benchmark is wanted, however slow another is.
            results = GateSampling(workspace, settings.plan, part, bar, slowdowns=slowdowns, expected=names).run()
            return [_finding(name, slowdowns[name], result) for name, result in results.items()]

        for trial in range(trials):
            equal.append(findings(f"equal {trial + 1}", dict.fromkeys(names, 0.0)))
            if trial % EQUAL_PER_SLOWED == EQUAL_PER_SLOWED - 1:
                turn = trial // EQUAL_PER_SLOWED
                shares = {name: SLOWDOWNS[(turn + place) % len(SLOWDOWNS)] for place, name in enumerate(names)}
                slowed += findings(f"slowed {turn + 1}", shares)
    every = [*(each for trial in equal for each in trial), *slowed]
    return {
        **header("self-test", settings, before),
        "revision": asdict(revision),
        "benchmarks": list(names),
        "elapsed_s": time.monotonic() - began,
        "false_alarms": _false_alarms(equal),
        "levels": [
            _level(slowdown, [each for each in every if each.slowdown == slowdown]) for slowdown in (0.0, *SLOWDOWNS)
        ],
        "findings": [asdict(each) for each in every],
    }


def _finding(name: str, slowdown: float, result: BenchmarkResult) -> Finding:
    judged = result.judged
    return Finding(name, slowdown, result.verdict, math.exp(judged.ratio.estimate), judged.pairs)


def _false_alarms(trials: Sequence[Sequence[Finding]]) -> dict[str, Any]:
    """Trials of equal code in which anything was called slower."""
    alarms = sum(any(each.verdict == "SLOWER" for each in trial) for trial in trials)
    verdicts = Counter(each.verdict for trial in trials for each in trial)
    return {
        "trials": len(trials),
        "alarms": alarms,
        **_wilson(alarms, len(trials)),
        "comparisons": sum(map(len, trials)),
        "verdicts": dict(verdicts),
    }


def _level(slowdown: float, findings: Sequence[Finding]) -> dict[str, Any]:
    """How often one slowdown was found. Fewer trials than slowdowns leave some without any."""
    found = sum(each.verdict == "SLOWER" for each in findings)
    ratios = [each.ratio for each in findings]
    return {
        "slowdown": slowdown,
        "trials": len(findings),
        "found": found,
        **_wilson(found, len(findings)),
        "verdicts": dict(Counter(each.verdict for each in findings)),
        "estimate": {
            "mean": fmean(ratios) if ratios else None,
            "sd": stdev(ratios) if len(ratios) > 1 else None,
        },
    }


def _wilson(successes: int, trials: int) -> dict[str, float | None]:
    """The 95 % interval of a share that stays honest near 0 and 1 (Wilson 1927)."""
    if not trials:
        return {"low": None, "high": None}
    from scipy.stats import binomtest  # half a second, which a gate without a self-test does not need

    interval = binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return {"low": float(interval.low), "high": float(interval.high)}
