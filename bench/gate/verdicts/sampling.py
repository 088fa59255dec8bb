"""The sampling of two revisions: a first look at every benchmark, then fresh processes for what it did not clear."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from bench.gate.result_store import ResultStore
from bench.gate.revisions.workspace import Workspace
from bench.gate.settings import SamplingPlan
from bench.gate.verdicts.evidence import Evidence, PairedSample, typical_noise, verdict, weigh
from bench.gate.verdicts.process_triple import ProcessTriple
from harness.progress import Progress

FIRST_LOOKS = 2
"""Rounds of fresh processes that every benchmark gets."""
START_S = 6.0
"""Seconds that three processes are thought to take to start, until that has been measured."""


@dataclass(frozen=True)
class BenchmarkResult:
    """The samples of one benchmark, the evidence in them, and the verdict.

    Attributes:
        pairs: all paired samples.
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
    """Samples both revisions in rounds until every verdict is settled or the time is over.

    Args:
        workspace: both revisions, and what is timed of them.
        plan: how much is measured.
        store: finished pairs; those found there are not measured again.
        progress: makes a bar for each round.
        elapsed_s: seconds of the budget that are spent already.
        slowdowns: benchmark -> share by which head is made slower, for the self-test.
    """

    def __init__(
        self,
        workspace: Workspace,
        plan: SamplingPlan,
        store: ResultStore,
        progress: Progress,
        elapsed_s: float = 0.0,
        slowdowns: Mapping[str, float] | None = None,
    ) -> None:
        self._start, self._folders = workspace.start, workspace.facts.folders
        self._benchmarks = workspace.facts.timed
        self._slowdowns = slowdowns or {}
        self._plan = plan
        self._store = store
        self._progress = progress
        self._began = time.monotonic() - elapsed_s - (store.get("elapsed") or 0.0)
        self._first: dict[str, list[PairedSample]] = {name: [] for name in self._benchmarks}
        self._fresh: dict[str, list[PairedSample]] = {name: [] for name in self._benchmarks}
        self._start_s = START_S
        self.rounds = 0

    @property
    def elapsed_s(self) -> float:
        """Since the start, earlier runs that are continued included."""
        return time.monotonic() - self._began

    def run(self) -> dict[str, BenchmarkResult]:
        """The first look, then rounds over what is not settled, as long as there is time."""
        if self._benchmarks:
            cycles = self._plan.first_cycles(len(self._benchmarks))
            for index in range(FIRST_LOOKS):
                what = f"first look {index + 1} of {FIRST_LOOKS}"
                self._round(what, self._benchmarks, cycles, self._first)
            # A round that an earlier run has begun was affordable then, and costs little or nothing now.
            while wanted := self._store.get(f"round {self.rounds}") or self._affordable():
                self._round(f"{len(wanted)} not settled", wanted, self._plan.most_cycles, self._fresh)
        return self.results()

    def results(self) -> dict[str, BenchmarkResult]:
        """Benchmark -> what its samples so far say."""
        pairs = {name: [*self._first[name], *self._fresh[name]] for name in self._benchmarks}
        if not any(pairs.values()):
            return {}
        typical, rules = typical_noise(pairs), self._plan.rules
        first, fresh, every = (weigh(each, typical) for each in (self._first, self._fresh, pairs))
        return {
            name: BenchmarkResult(
                pairs[name],
                first[name],
                fresh.get(name),
                every[name],
                verdict(first[name], fresh.get(name), every[name], rules),
            )
            for name in first
        }

    def _round(self, what: str, names: Sequence[str], cycles: int, into: dict[str, list[PairedSample]]) -> None:
        """One paired sample of every named benchmark, in the same three fresh processes."""
        prefix = f"round {self.rounds}"
        self.rounds += 1
        missing = [name for name in names if self._store.get(f"{prefix} | {name}") is None]
        if self._store.get(prefix) is None:
            self._store.append(prefix, list(names))
        if missing:
            began = time.monotonic()
            with (
                ProcessTriple(self._start, self._folders, missing, self._slowdowns) as triple,
                self._progress(what, len(missing)) as bar,
            ):
                self._start_s = time.monotonic() - began
                for name in missing:
                    pair = triple.measure(name, cycles, seed=f"{prefix} | {name}")
                    self._store.append(f"{prefix} | {name}", asdict(pair))
                    bar.update()
            self._store.append("elapsed", self.elapsed_s)
        for name in names:
            into[name].append(PairedSample(**self._store.get(f"{prefix} | {name}")))  # type: ignore[arg-type]  # there by now

    def _affordable(self) -> list[str]:
        """The benchmarks without a verdict that there is time to settle, the most suspicious first."""
        results = self.results()
        # Fewer pairs than a verdict needs would be measured in vain.
        missing = {
            name: max(1, self._plan.rules.confirmations - len(self._fresh[name]))
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
