from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.gate.revisions.facts import NO_FACTS
from bench.gate.revisions.process import BASE, HEAD, TWIN
from bench.gate.revisions.workspace import Workspace
from bench.gate.settings import SamplingPlan
from bench.gate.verdicts.benchmark_result import NOT_CONFIRMED, NOT_SETTLED, BenchmarkResult
from bench.gate.verdicts.evidence import PairedSample
from bench.gate.verdicts.sampling import CONFIRMING_S, GateSampling

A, B, C = (f"router | random | {name}" for name in "abc")
PLENTY = SamplingPlan(cycles=4, most_cycles=6, budget_s=10_000.0)


class Revisions:
    """Two made-up revisions: how long head takes, and what was asked of both."""

    def __init__(self, make_checkout: Callable[..., Path], local_workers: Any, log: Path) -> None:
        self._make_checkout = make_checkout
        self._local_workers = local_workers
        self.log = log

    def workspace(self, ratios: dict[str, float], *, noise: float = 0.002) -> Workspace:
        self.log.unlink(missing_ok=True)
        base = self._make_checkout("base", noise=noise, log=str(self.log))
        ns = {name: 1_000_000 * ratio for name, ratio in ratios.items()}
        head = self._make_checkout("head", noise=noise, log=str(self.log), ns=ns)
        checkouts = {BASE: base, TWIN: base, HEAD: head}

        def start(side: str) -> Any:
            return self._local_workers.make(side, checkouts[side])

        return Workspace(start, replace(NO_FACTS, timed=list(ratios), folders=checkouts))

    def asked(self, verb: str) -> list[dict[str, Any]]:
        requests = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [request for _, _, request in requests if request["do"] == verb]


@pytest.fixture
def revisions(make_checkout: Callable[..., Path], local_workers: Any, tmp_path: Path) -> Revisions:
    return Revisions(make_checkout, local_workers, tmp_path / "log")


Bars = Callable[[str, int], AbstractContextManager[Any]]


def test_slower_faster_same_are_found(revisions: Revisions, memory: Any, no_bar: Bars) -> None:
    sampling = GateSampling(revisions.workspace({A: 1.10, B: 0.90, C: 1.0}), PLENTY, memory(), no_bar)
    results = sampling.run()
    assert {name: result.verdict for name, result in results.items()} == {A: "SLOWER", B: "FASTER", C: "SAME"}
    for name, ratio in ((A, 1.10), (B, 0.90), (C, 1.0)):
        assert results[name].judged.ratio.estimate == pytest.approx(math.log(ratio), abs=0.01)
    # Two looks cleared C; three fresh processes confirmed what those had seen of the others.
    assert results[C].fresh is None
    assert results[C].judged is results[C].every
    assert len(results[C].pairs) == 2
    for name in (A, B):
        assert results[name].first.pairs == 2
        assert results[name].judged is results[name].fresh
        assert (results[name].fresh.pairs, results[name].every.pairs, len(results[name].pairs)) == (3, 5, 5)
    assert sampling.rounds == 5


def test_a_known_slowdown_reaches_head_alone(revisions: Revisions, memory: Any, no_bar: Bars) -> None:
    workspace = revisions.workspace({A: 1.0, B: 1.0})
    results = GateSampling(workspace, PLENTY, memory(), no_bar, slowdowns={A: 0.2, B: 0.0}).run()
    assert (results[A].verdict, results[B].verdict) == ("SLOWER", "SAME")
    assert results[A].judged.ratio.estimate == pytest.approx(math.log(1.2), abs=0.01)
    assert results[A].judged.noise.estimate == pytest.approx(0.0, abs=0.01)
    loads = revisions.asked("load")
    assert [load["slowdowns"] for load in loads[:3] if load["slowdowns"]] == [{A: 0.2, B: 0.0}]


def test_every_round_has_three_fresh_processes_with_what_is_not_settled(
    revisions: Revisions, memory: Any, no_bar: Bars
) -> None:
    GateSampling(revisions.workspace({A: 1.10, B: 1.0}), PLENTY, memory(), no_bar).run()
    loaded = [load["benchmarks"] for load in revisions.asked("load")]
    assert loaded == [[A, B]] * 6 + [[A]] * 9
    seeds = [load["seed"] for load in revisions.asked("load")]
    assert len(set(seeds)) == len(seeds)


def test_what_was_not_clear_at_first_is_cleared_by_all_pairs(revisions: Revisions, memory: Any, no_bar: Bars) -> None:
    names = [f"router | random | {index}" for index in range(12)]
    sampling = GateSampling(revisions.workspace(dict.fromkeys(names, 1.0), noise=0.02), PLENTY, memory(), no_bar)
    results = sampling.run()
    cleared = [result for result in results.values() if result.verdict == "SAME" and result.fresh]
    assert len(cleared) >= 3
    for result in cleared:
        assert result.judged is result.every
        assert result.every.pairs == len(result.pairs) == 2 + result.fresh.pairs


@pytest.mark.parametrize(
    ("benchmarks", "cycles"), [(1, 100), (4, 100), (5, 100), (6, 83), (24, 20), (25, 20), (140, 20)]
)
def test_few_benchmarks_get_more_cycles_at_once(benchmarks: int, cycles: int) -> None:
    assert SamplingPlan(cycles=20, most_cycles=100, budget_s=1.0).first_cycles(benchmarks) == cycles


def test_nothing_to_time_starts_no_process(no_bar: Bars, memory: Any) -> None:
    def start(side: str) -> Any:
        raise AssertionError(side)

    sampling = GateSampling(Workspace(start, NO_FACTS), PLENTY, memory(), no_bar)
    assert sampling.run() == {}


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is confirmed beyond the budget."""
    monkeypatch.setattr("bench.gate.verdicts.sampling.CONFIRMING_S", -1e9)


def test_over_the_time_is_uncertain(revisions: Revisions, memory: Any, no_bar: Bars, strict: None) -> None:
    sampling = GateSampling(
        revisions.workspace({A: 1.10, B: 1.0}), SamplingPlan(4, 6, budget_s=0.001), memory(), no_bar
    )
    results = sampling.run()
    # Everything gets its first look, whatever the budget.
    assert sampling.rounds == 2
    assert {name: result.verdict for name, result in results.items()} == {A: "UNCERTAIN", B: "SAME"}
    assert (results[A].reason, results[B].reason) == (NOT_SETTLED, None)


def test_what_all_samples_prove_slower_is_confirmed_beyond_the_budget(
    revisions: Revisions, memory: Any, no_bar: Bars
) -> None:
    sampling = GateSampling(
        revisions.workspace({A: 1.10, B: 1.0, C: 0.9}), SamplingPlan(4, 6, budget_s=0.001), memory(), no_bar
    )
    results = sampling.run()
    assert {name: result.verdict for name, result in results.items()} == {A: "SLOWER", B: "SAME", C: "UNCERTAIN"}
    assert (results[A].fresh.pairs, results[C].fresh) == (3, None)
    assert sampling.elapsed_s < CONFIRMING_S


@pytest.mark.parametrize(
    ("slower", "selected"),
    [*((slower, True) for slower in (2.0, 10.0, 80.0, 600.0, 1000.0)), (2.0, False), (80.0, False), (1000.0, False)],
)
def test_the_slower_the_surer(
    revisions: Revisions, memory: Any, no_bar: Bars, local_workers: Any, slower: float, selected: bool
) -> None:
    """Seven benchmarks of a millisecond, that take up to a second by now, alone or among 56 others."""
    local_workers.calls_take_time, local_workers.time_s = True, 0.0002
    slow = [f"router | random | slow{index}" for index in range(7)]
    others = [] if selected else [f"router | random | other{index:02}" for index in range(56)]
    # Of slow ones last, so that they are met when much of the time is over.
    ratios = dict.fromkeys(others, 1.0) | dict.fromkeys(slow, slower)
    sampling = GateSampling(
        revisions.workspace(ratios, noise=0.01), SamplingPlan(20, 100, budget_s=60.0), memory(), no_bar
    )
    results = sampling.run()
    assert {results[name].verdict for name in slow} == {"SLOWER"}
    assert not [name for name in others if results[name].verdict == "SLOWER"]
    assert sampling.elapsed_s < 60.0 + CONFIRMING_S


def test_the_slowest_fails_by_its_first_look(
    revisions: Revisions, memory: Any, no_bar: Bars, local_workers: Any
) -> None:
    """Calls of a minute: two looks have to do, and what comes after it is not measured."""
    local_workers.calls_take_time = True
    workspace = revisions.workspace({A: 1.0, B: 60_000.0, C: 60_000.0})
    sampling = GateSampling(workspace, SamplingPlan(20, 100, budget_s=100.0), memory(), no_bar)
    results = sampling.run()
    assert {name: (result.verdict, result.reason) for name, result in results.items()} == {
        A: ("SAME", None),
        B: ("SLOWER", NOT_CONFIRMED),
    }
    assert sampling.elapsed_s < 300
    whole = GateSampling(workspace, SamplingPlan(20, 100, budget_s=100.0), memory(), no_bar, expected={B, C}).run()
    assert whole.keys() == {A, B, C}


def test_a_chance_that_looked_far_slower_does_not_end_the_first_look(
    revisions: Revisions, memory: Any, no_bar: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.gate.verdicts.process_triple import ProcessTriple

    real, first = ProcessTriple.measure, iter([True])

    def measure(triple: Any, benchmark: str, cycles: int, seed: str) -> PairedSample:
        pair = real(triple, benchmark, cycles, seed)
        return replace(pair, ratio=1.0) if benchmark == A and next(first, False) else pair

    monkeypatch.setattr(ProcessTriple, "measure", measure)
    results = GateSampling(
        revisions.workspace({A: 1.0, B: 1.0, C: 1.0}), SamplingPlan(4, 6, budget_s=0.001), memory(), no_bar
    ).run()
    assert results.keys() == {A, B, C}
    assert all(len(result.pairs) >= 2 for result in results.values())
    assert "SLOWER" not in {result.verdict for result in results.values()}


@pytest.mark.parametrize("budget_s", [15.0, 20.0, 30.0, 60.0, 100.0])
def test_the_budget_is_kept(revisions: Revisions, memory: Any, no_bar: Bars, clock: Any, budget_s: float) -> None:
    began = clock.now
    # So noisy that nothing is ever settled.
    sampling = GateSampling(
        revisions.workspace({A: 1.0, B: 1.0, C: 1.0}, noise=1.0),
        SamplingPlan(4, 6, budget_s),
        memory(),
        no_bar,
        elapsed_s=5.0,
    )
    results = sampling.run()
    assert all(result.verdict == "UNCERTAIN" for result in results.values())
    assert sampling.elapsed_s == pytest.approx(clock.now - began + 5.0)
    assert sampling.elapsed_s <= budget_s
    if budget_s == 100.0:
        assert sampling.elapsed_s > 90.0
        assert sampling.rounds > 10


def test_a_bar_for_every_round(revisions: Revisions, memory: Any) -> None:
    bars: list[tuple[str, int]] = []
    steps: list[str] = []

    def progress(what: str, total: int) -> Any:
        bars.append((what, total))
        return nullcontext(SimpleNamespace(update=lambda n=1: steps.append(what)))

    GateSampling(revisions.workspace({A: 1.10, B: 1.0}), PLENTY, memory(), progress).run()
    assert bars == [("first look 1 of 2", 2), ("first look 2 of 2", 2)] + [("1 not settled", 1)] * 3
    assert [what for what, total in bars for _ in range(total)] == steps


def shape_of(result: BenchmarkResult) -> tuple[Any, ...]:
    return result.verdict, result.first.pairs, result.fresh and result.fresh.pairs, len(result.pairs)


def run_all(
    workspace: Workspace, kept: Any, no_bar: Bars, plan: SamplingPlan = PLENTY
) -> tuple[GateSampling, dict[str, BenchmarkResult]]:
    sampling = GateSampling(workspace, plan, kept, no_bar)
    return sampling, sampling.run()


def test_interrupted_anywhere_it_goes_on_with_what_is_kept(revisions: Revisions, memory: Any, no_bar: Bars) -> None:
    workspace = revisions.workspace({A: 1.10, B: 0.90, C: 1.0})
    whole = memory()
    _, expected = run_all(workspace, whole, no_bar)
    for n in range(whole.appended):
        broken = memory(fail_at=n)
        with pytest.raises(KeyboardInterrupt):
            run_all(workspace, broken, no_bar)
        revisions.log.unlink(missing_ok=True)
        resumed = memory(broken.results)
        random.seed(n)  # what is measured again is measured otherwise
        _, results = run_all(workspace, resumed, no_bar)
        assert {name: shape_of(result) for name, result in results.items()} == {
            name: shape_of(result) for name, result in expected.items()
        }
        # What was kept is there, as it was, and the rest was measured once.
        assert resumed.results.items() >= {k: v for k, v in broken.results.items() if k != "elapsed"}.items()
        assert resumed.results.keys() == whole.results.keys()
        pairs = [pair for result in results.values() for pair in result.pairs]
        kept_pairs = [PairedSample(**value) for key, value in resumed.results.items() if " | " in key]
        assert all(pair in kept_pairs for pair in pairs)
        again = {key.split(" | ", 1)[1] for key in whole.results.keys() - broken.results.keys() if " | " in key}
        measured = {request["benchmark"] for request in revisions.asked("time")} if revisions.log.exists() else set()
        assert measured == again


def test_interrupted_between_measuring_and_keeping_it_measures_again(
    revisions: Revisions, memory: Any, no_bar: Bars
) -> None:
    kept = memory()

    def progress(what: str, steps: int) -> Any:
        def update(n: int = 1) -> None:
            if kept.appended >= 7:
                raise KeyboardInterrupt

        return nullcontext(SimpleNamespace(update=update))

    workspace = revisions.workspace({A: 1.10, B: 1.0})
    with pytest.raises(KeyboardInterrupt):
        GateSampling(workspace, PLENTY, kept, progress).run()
    before = dict(kept.results)
    results = GateSampling(workspace, PLENTY, memory(before), no_bar).run()
    assert {name: result.verdict for name, result in results.items()} == {A: "SLOWER", B: "SAME"}


@pytest.mark.parametrize("budget_s", [20.0, 25.0, 30.0, 40.0])
def test_what_was_measured_counts_though_the_time_is_over_by_now(
    revisions: Revisions, memory: Any, no_bar: Bars, budget_s: float
) -> None:
    """A run whose result could not be written is continued: everything is there, and no time is left."""
    workspace, plan = revisions.workspace({A: 1.10, B: 0.93, C: 1.0}), SamplingPlan(4, 6, budget_s)
    whole = memory()
    first, expected = run_all(workspace, whole, no_bar, plan)
    revisions.log.unlink()
    kept = memory(whole.results | {"elapsed": 10_000.0})
    second, results = run_all(workspace, kept, no_bar, plan)
    assert results == expected
    assert second.rounds == first.rounds
    assert not revisions.log.exists()


def test_a_round_that_was_begun_is_finished_though_the_time_is_over(
    revisions: Revisions, memory: Any, no_bar: Bars
) -> None:
    workspace = revisions.workspace({A: 1.10, B: 1.10})
    whole = memory()
    run_all(workspace, whole, no_bar)
    cut = {key: value for key, value in whole.results.items() if key != f"round 4 | {B}"}
    _, results = run_all(workspace, memory(cut | {"elapsed": 10_000.0}), no_bar)
    assert {name: result.verdict for name, result in results.items()} == {A: "SLOWER", B: "SLOWER"}


def test_more_time_takes_a_comparison_on(
    revisions: Revisions, memory: Any, no_bar: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = revisions.workspace({A: 1.10})
    short = memory()
    with monkeypatch.context() as patch:
        patch.setattr("bench.gate.verdicts.sampling.CONFIRMING_S", -1e9)
        _, results = run_all(workspace, short, no_bar, SamplingPlan(4, 6, budget_s=0.1))
    assert results[A].verdict == "UNCERTAIN"
    _, results = run_all(workspace, memory(short.results), no_bar)
    assert results[A].verdict == "SLOWER"


def test_earlier_time_counts(revisions: Revisions, memory: Any, no_bar: Bars, clock: Any) -> None:
    workspace = revisions.workspace({A: 1.10})
    kept = memory()
    first, _ = run_all(workspace, kept, no_bar)
    took = first.elapsed_s
    assert kept.results["elapsed"] == pytest.approx(took)
    clock.now += 500.0  # between two runs
    second = GateSampling(workspace, PLENTY, kept, no_bar, elapsed_s=3.0)
    assert second.elapsed_s == pytest.approx(took + 3.0)
