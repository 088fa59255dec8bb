"""The sampling of two revisions: a first look at every benchmark, then fresh processes for what it did not clear."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import median

from bench.gate.result_store import ResultStore
from bench.gate.revisions.workspace import Workspace
from bench.gate.settings import SamplingPlan
from bench.gate.verdicts.benchmark_result import BenchmarkResult, explain, judge_pairs
from bench.gate.verdicts.evidence import PairedSample, is_far_slower, is_slower
from bench.gate.verdicts.process_triple import ProcessTriple, needed_cycles
from harness.progress import Progress

FIRST_LOOKS = 2
"""Rounds of fresh processes that every benchmark gets."""
START_S = 6.0
"""Seconds that three processes are thought to take to start, until that has been measured."""
CONFIRMING_S = 240.0
"""Seconds beyond the budget for what the samples so far prove slower: a slowdown must not be safe for its own cost."""


class GateSampling:
    """Samples both revisions in rounds until every verdict is settled or the time is over.

    Args:
        workspace: both revisions, and what is timed of them.
        plan: how much is measured.
        store: finished pairs; those found there are not measured again.
        progress: makes a bar for each round.
        elapsed_s: seconds of the budget that are spent already.
        slowdowns: benchmark -> share by which head is made slower, for the self-test.
        expected: benchmarks that may be slower; another that is far slower ends the first look once the time is over.
    """

    def __init__(
        self,
        workspace: Workspace,
        plan: SamplingPlan,
        store: ResultStore,
        progress: Progress,
        elapsed_s: float = 0.0,
        slowdowns: Mapping[str, float] | None = None,
        expected: Collection[str] = (),
    ) -> None:
        self._start, self._folders = workspace.start, workspace.facts.folders
        self._benchmarks = workspace.facts.timed
        self._slowdowns = slowdowns or {}
        self._expected = expected
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
        """The first look, then rounds over what is not settled, as long as there is time.

        Returns:
            benchmark -> its result; without those that were left out because another is far slower.
        """
        if self._benchmarks:
            self._first_look()
            # A round that an earlier run has begun was affordable then, and costs little or nothing now.
            while wanted := self._store.get(f"round {self.rounds}") or self._affordable():
                self._round(f"{len(wanted)} not settled", wanted, self._plan.most_cycles, self._fresh)
            while wanted := self._suspects():
                self._round(f"{len(wanted)} to confirm", wanted, self._plan.cycles, self._fresh)
        return {name: explain(result, self._plan.rules) for name, result in self.results().items()}

    def _first_look(self) -> None:
        cycles = self._plan.first_cycles(len(self._benchmarks))
        rest: Sequence[str] = self._benchmarks
        while rest:
            looked = rest
            for index in range(FIRST_LOOKS):
                self._round(f"first look {index + 1} of {FIRST_LOOKS}", looked, cycles, self._first)
                looked = [name for name in looked if len(self._first[name]) > index]
            far = any(self._is_far(name, result) for name, result in self.results().items())
            rest = [] if far else [name for name in rest if name not in looked]

    def results(self) -> dict[str, BenchmarkResult]:
        """Benchmark -> what its samples so far say."""
        return judge_pairs(self._first, self._fresh, self._plan.rules)

    def _round(self, what: str, names: Sequence[str], cycles: int, into: dict[str, list[PairedSample]]) -> None:
        """One paired sample of every named benchmark, in the same three fresh processes."""
        prefix = f"round {self.rounds}"
        self.rounds += 1
        missing = [name for name in names if self._store.get(f"{prefix} | {name}") is None]
        if self._store.get(prefix) is None:
            self._store.append(prefix, list(names))
        if missing and not self._given_up(prefix, names, into):
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
                    if self._given_up(prefix, names, into):
                        break
            self._store.append("elapsed", self.elapsed_s)
        for name in names:
            if (kept := self._store.get(f"{prefix} | {name}")) is not None:
                into[name].append(PairedSample(**kept))

    def _given_up(self, prefix: str, names: Iterable[str], into: object) -> bool:
        """Whether the time is over in a round of the first look that has met what is far slower already."""
        if into is not self._first or self.elapsed_s <= self._plan.budget_s:
            return False
        pairs = [self._store.get(f"{prefix} | {name}") for name in names if name not in self._expected]
        return any(pair["ratio"] > math.log1p(self._plan.rules.far) for pair in pairs if pair)

    def _affordable(self) -> list[str]:
        """The benchmarks without a verdict that the budget settles."""
        results = self.results()
        unsettled = [name for name, result in results.items() if result.verdict == "UNCERTAIN"]
        return self._within(unsettled, results, self._plan.most_cycles, self._plan.budget_s - self.elapsed_s)

    def _suspects(self) -> list[str]:
        """Those that all their samples prove slower, and that lack confirmations for which the budget was too small."""
        results, rules = self.results(), self._plan.rules
        suspects = [
            name
            for name, result in results.items()
            if result.verdict == "UNCERTAIN"
            and is_slower(result.every, rules)
            and len(self._fresh[name]) < rules.confirmations
        ]
        left = self._plan.budget_s + CONFIRMING_S - self.elapsed_s
        return self._within(suspects, results, self._plan.cycles, left)

    def _within(
        self, names: Iterable[str], results: Mapping[str, BenchmarkResult], cycles: int, left: float
    ) -> list[str]:
        """The benchmarks that so many seconds settle, the most suspicious first; what costs too much is passed over."""
        wanted, rounds, measuring_s = [], 0, 0.0
        for name in sorted(names, key=lambda name: -abs(results[name].judged.ratio.estimate)):
            result = results[name]
            # Fewer pairs than a verdict needs would be measured in vain.
            pairs = max(1, self._plan.rules.confirmations - len(self._fresh[name]))
            cycle_s = median(pair.cycle_s for pair in result.pairs)
            cost_s = measuring_s + pairs * needed_cycles(result.judged.ratio.estimate, cycles) * cycle_s
            if max(rounds, pairs) * self._start_s + cost_s <= left:
                wanted.append(name)
                rounds, measuring_s = max(rounds, pairs), cost_s
        return wanted

    def _is_far(self, name: str, result: BenchmarkResult) -> bool:
        return name not in self._expected and is_far_slower(result.first, self._plan.rules)
