"""The gate's JSON, made of the facts of both revisions and the results of their sampling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from statistics import fmean, median
from typing import Any

import torch

from bench.case import Case
from bench.gate.revisions.facts import NO_FACTS, RevisionFacts
from bench.gate.revisions.process import BASE, HEAD
from bench.gate.settings import GateSettings
from bench.gate.verdicts.benchmark_result import BenchmarkResult
from bench.gate.verdicts.invariants import CHECK, TIME, Expectations, MovedFigure, compare_invariants
from bench.record.machine import conditions, describe_machine
from bench.timing.interleave import threads
from bench.timing.intervals import Interval

SCHEMA = 1
NOT_MEASURED = "not measured: another benchmark is far slower, and the time was over"
NO_REGRESSION, REGRESSION, NOTHING_TO_COMPARE = 0, 1, 3


def header(kind: str, settings: GateSettings, before: dict[str, Any]) -> dict[str, Any]:
    """The keys that the JSON of a gate and of a self-test have in common."""
    with threads(settings.threads):
        machine = describe_machine()
    return {
        "schema": SCHEMA,
        "kind": kind,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **settings.as_dict(),
        "torch": torch.__version__,
        "machine": machine,
        "conditions": {"before": before, "after": conditions()},
    }


def describe(
    facts: RevisionFacts, results: Mapping[str, BenchmarkResult], expectations: Expectations
) -> dict[str, Any]:
    """What is known of every benchmark, and the outcome; docs/how-to/gate.md explains the keys."""
    rows = [_row(name, facts, results, expectations) for name in facts.benchmarks]
    moved, compared = compare_invariants(facts.invariants[BASE], facts.invariants[HEAD], expectations)
    shown = [row for row in rows if row["verdict"] is not None]
    return {
        "rows": shown,
        "not_timed": len(rows) - len(shown),
        "figures": [asdict(each) for each in moved],
        "figures_compared": compared,
        "added": facts.added,
        "removed": facts.removed,
        "geometric_mean": _geometric_mean(results),
        "outcome": _outcome(shown, facts, moved),
    }


def nothing_to_compare(reason: str) -> dict[str, Any]:
    """The keys of `describe` where there is nothing in them, and the reason for that."""
    outcome = {"exit_code": NOTHING_TO_COMPARE, "reasons": [reason]}
    return describe(NO_FACTS, {}, Expectations([])) | {"outcome": outcome}


def _row(
    name: str, facts: RevisionFacts, results: Mapping[str, BenchmarkResult], expectations: Expectations
) -> dict[str, Any]:
    benchmark, result = Case.parse(name), results.get(name)
    row: dict[str, Any] = {
        "benchmark": name,
        "scenario": benchmark.scenario,
        "input": benchmark.input,
        "router": benchmark.router,
        **dict.fromkeys(("base_us", "head_us", "ratio", "noise", "floor")),
        "pairs": 0,
        **dict.fromkeys(("first_look", "verdict", "reason")),
        "expected": False,
    }
    if name in facts.failures:
        expected = expectations.cover(name, CHECK)
        return row | {"verdict": "FAILED", "reason": facts.failures[name], "expected": expected}
    if result is None:
        # Where others were timed, it was left out for want of time; otherwise it has the shape of another.
        return row | ({"verdict": "UNCERTAIN", "reason": NOT_MEASURED} if results and name in facts.timed else {})
    judged = result.judged
    return row | {
        "base_us": median(pair.base_us for pair in result.pairs),
        "head_us": median(pair.head_us for pair in result.pairs),
        "ratio": _as_ratio(judged.ratio),
        "noise": _as_ratio(judged.noise),
        "floor": math.expm1(judged.floor),
        "pairs": judged.pairs,
        "first_look": _as_ratio(result.first.ratio) if result.fresh else None,
        "verdict": result.verdict,
        "reason": result.reason,
        "expected": expectations.cover(name, TIME),
    }


def _as_ratio(logs: Interval) -> dict[str, float]:
    return Interval(math.exp(logs.estimate), math.exp(logs.low), math.exp(logs.high)).as_dict()


def _geometric_mean(results: Mapping[str, BenchmarkResult]) -> dict[str, float] | None:
    """Over all that were timed, from the first look, which took them all alike.

    Without an interval: the benchmarks of a round share its processes, and are not so many independent ratios.
    """
    logs = [result.first.ratio.estimate for result in results.values()]
    return {"estimate": math.exp(fmean(logs))} if len(logs) > 1 else None


def _outcome(rows: Sequence[Mapping[str, Any]], facts: RevisionFacts, moved: Sequence[MovedFigure]) -> dict[str, Any]:
    reasons = []
    for row in rows:
        if row["expected"]:
            continue
        if row["verdict"] == "SLOWER":
            ratio = row["ratio"]
            interval = f"[{ratio['low']:.3f}, {ratio['high']:.3f}]"
            reasons.append(f"{row['benchmark']} is slower: {ratio['estimate']:.3f} {interval}")
        elif row["benchmark"] in facts.one_sided:
            reasons.append(f"{row['benchmark']} {row['reason']}")
    reasons += [
        f"{each.benchmark}: {each.figure} moved from {each.base} to {each.head}" for each in moved if not each.expected
    ]
    return {"exit_code": REGRESSION if reasons else NO_REGRESSION, "reasons": reasons}
