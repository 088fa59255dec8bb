"""The comparison: a first look at every benchmark, then fresh processes for those that it did not clear."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from bench.gate.verdicts.evidence import Evidence, PairedSample, Rules, typical_noise, verdict, weigh
from bench.gate.verdicts.process_triple import ProcessTriple, StartWorker
from bench.timing.group import Bar

FIRST_LOOKS = 2
"""Rounds of fresh processes that every benchmark gets."""
MANY = 25
"""From so many benchmarks on, the first look takes no more than the least cycles."""
START_S = 6.0
"""What it takes to start three processes, until that has been seen."""

Progress = Callable[[str, int], AbstractContextManager[Bar]]
"""(what, steps) -> a bar."""


class ResultStore(Protocol):
    """Where finished measurements are kept; a journal is one."""

    def get(self, key: str) -> Any | None:
        """The result under a key, or None."""

    def append(self, key: str, result: Any) -> None:
        """Keep a result; it is on disk when this returns."""


@dataclass(frozen=True)
class SamplingPlan:
    """How much is measured.

    Attributes:
        cycles: of a benchmark in the first look, where there are many; in each, every process is visited once.
        most_cycles: in each round after it, and in the first look where there are few benchmarks.
        budget_s: no round begins that would not end within so many seconds from the start.
    """

    cycles: int
    most_cycles: int
    budget_s: float

    def first_cycles(self, benchmarks: int) -> int:
        """Of each of so many benchmarks: starting three processes takes as long as some hundred cycles."""
        return min(self.most_cycles, max(self.cycles, self.cycles * MANY // benchmarks))


@dataclass(frozen=True)
class Job:
    """What is compared, and by what.

    Attributes:
        start: starts a worker for a side.
        folders: side -> where its inputs and experts are.
        benchmarks: names.
        rules: thresholds.
        slowdowns: benchmark -> share by which head is made slower, for the self-test.
    """

    start: StartWorker
    folders: Mapping[str, Path]
    benchmarks: Sequence[str]
    rules: Rules
    slowdowns: Mapping[str, float]


@dataclass(frozen=True)
class Result:
    """What is known of one benchmark.

    Attributes:
        pairs: all of them.
        first: evidence of the first look.
        fresh: evidence of later processes, or None where the first look was enough.
        every: evidence of all pairs.
        verdict: SLOWER, FASTER, SAME or UNCERTAIN.
    """

    pairs: Sequence[PairedSample]
    first: Evidence
    fresh: Evidence | None
    every: Evidence
    verdict: str

    @property
    def judged(self) -> Evidence:
        """What the verdict rests on: all pairs can clear, fresh ones alone accuse."""
        return self.every if self.fresh is None or self.verdict == "SAME" else self.fresh


class GateSampling:
    """Measures until every verdict is settled or the time is over.

    Args:
        job: what.
        plan: how much.
        kept: finished pairs; those found there are not measured again.
        progress: makes a bar for each round.
        elapsed_s: what the budget has lost before.
    """

    def __init__(
        self, job: Job, plan: SamplingPlan, kept: ResultStore, progress: Progress, elapsed_s: float = 0.0
    ) -> None:
        self._job = job
        self._plan = plan
        self._kept = kept
        self._progress = progress
        self._began = time.monotonic() - elapsed_s - (kept.get("elapsed") or 0.0)
        self._first: dict[str, list[PairedSample]] = {name: [] for name in job.benchmarks}
        self._fresh: dict[str, list[PairedSample]] = {name: [] for name in job.benchmarks}
        self._start_s = START_S
        self.rounds = 0

    @property
    def elapsed_s(self) -> float:
        """Since the start, earlier runs that are continued included."""
        return time.monotonic() - self._began

    def run(self) -> dict[str, Result]:
        """The first look, then rounds over what is not settled, as long as there is time."""
        if self._job.benchmarks:
            cycles = self._plan.first_cycles(len(self._job.benchmarks))
            for index in range(FIRST_LOOKS):
                what = f"first look {index + 1} of {FIRST_LOOKS}"
                self._round(what, self._job.benchmarks, cycles, self._first)
            # A round that an earlier run has begun was affordable then, and costs little or nothing now.
            while wanted := self._kept.get(f"round {self.rounds}") or self._affordable():
                self._round(f"{len(wanted)} not settled", wanted, self._plan.most_cycles, self._fresh)
        return self.results()

    def results(self) -> dict[str, Result]:
        """Benchmark -> what the pairs so far say."""
        pairs = {name: [*self._first[name], *self._fresh[name]] for name in self._job.benchmarks}
        if not any(pairs.values()):
            return {}
        typical, rules = typical_noise(pairs), self._job.rules
        first, fresh, every = (weigh(each, typical) for each in (self._first, self._fresh, pairs))
        return {
            name: Result(
                pairs[name],
                first[name],
                fresh.get(name),
                every[name],
                verdict(first[name], fresh.get(name), every[name], rules),
            )
            for name in first
        }

    def _round(self, what: str, names: Sequence[str], cycles: int, into: dict[str, list[PairedSample]]) -> None:
        """One pair for each, in the same three fresh processes."""
        prefix = f"round {self.rounds}"
        self.rounds += 1
        missing = [name for name in names if self._kept.get(f"{prefix} | {name}") is None]
        if self._kept.get(prefix) is None:
            self._kept.append(prefix, list(names))
        if missing:
            job, began = self._job, time.monotonic()
            with (
                ProcessTriple(job.start, job.folders, missing, job.slowdowns) as triple,
                self._progress(what, len(missing)) as bar,
            ):
                self._start_s = time.monotonic() - began
                for name in missing:
                    pair = triple.measure(name, cycles, seed=f"{prefix} | {name}")
                    self._kept.append(f"{prefix} | {name}", asdict(pair))
                    bar.update()
            self._kept.append("elapsed", self.elapsed_s)
        for name in names:
            into[name].append(PairedSample(**self._kept.get(f"{prefix} | {name}")))  # type: ignore[arg-type]  # there by now

    def _affordable(self) -> list[str]:
        """Those not settled that there is time to settle, the most suspicious first."""
        results = self.results()
        # Fewer pairs than a verdict needs would be measured in vain.
        missing = {
            name: max(1, self._job.rules.confirmations - len(self._fresh[name]))
            for name, result in results.items()
            if result.verdict == "UNCERTAIN"
        }
        left = self._plan.budget_s - self.elapsed_s
        wanted, rounds, measuring_s = [], 0, 0.0
        for name in sorted(missing, key=lambda name: -abs(results[name].judged.ratio.estimate)):
            rounds = max(rounds, missing[name])
            cycle_s = median(pair.cycle_s for pair in results[name].pairs)
            measuring_s += missing[name] * self._plan.most_cycles * cycle_s
            if rounds * self._start_s + measuring_s > left:
                break
            wanted.append(name)
        return wanted
