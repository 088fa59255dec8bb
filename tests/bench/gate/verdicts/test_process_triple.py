from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.gate.revisions.process import BASE, HEAD, SIDES, TWIN
from bench.gate.verdicts.process_triple import ProcessTriple, is_plain, needed_cycles, turns

A = "router | random | a"


class ScriptedWorker:
    """Answers `time` with what a list says, whatever is asked of it."""

    def __init__(self, side: str, calls: list[tuple[str, int]], durations: list[int]) -> None:
        self.side, self.calls, self.durations = side, calls, iter(durations)
        self.closed = False

    def send(self, verb: str, **_: Any) -> None:
        assert verb == "load"

    def receive(self) -> None:
        pass

    def ask(self, verb: str, *, benchmark: str, calls: int) -> list[int]:
        assert verb == "time"
        self.calls.append((self.side, calls))
        return [next(self.durations)] * calls

    def __enter__(self) -> ScriptedWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


def test_a_pair_by_hand(tmp_path: Path) -> None:
    calls: list[tuple[str, int]] = []
    # First the two requests of the warm-up, then three cycles.
    durations = {
        BASE: [7_000_000, 400_000, 100, 200, 400],
        TWIN: [7_000_000, 300_000, 100, 800, 400],
        HEAD: [1, 900_000, 200, 400, 100],
    }
    workers = {side: ScriptedWorker(side, calls, durations[side]) for side in SIDES}
    with ProcessTriple(workers.__getitem__, dict.fromkeys(SIDES, tmp_path), [A], {}) as triple:  # type: ignore[arg-type]
        pair = triple.measure(A, 3, seed="s")
    # Head over base: 2, 2, 1/4, median 2. Head over the twin: 2, 1/2, 1/4, median 1/2. Their geometric mean is 1.
    # Twin over base: 1, 4, 1.
    assert pair.ratio == pytest.approx(math.log(1.0), abs=1e-12)
    assert pair.noise == pytest.approx(math.log(1.0), abs=1e-12)
    # The median of 100 200 400 100 800 400 is 300 ns, that of 200 400 100 is 200.
    assert (pair.base_us, pair.head_us) == pytest.approx((0.3, 0.2))
    # The fastest warm-up call took 0.3 ms: three fit into a millisecond.
    assert calls[:6] == [(side, count) for side in SIDES for count in (1, 2)]
    assert all(count == 3 for _, count in calls[6:])
    orders = [[side for side, _ in calls[6 + 3 * cycle : 9 + 3 * cycle]] for cycle in range(3)]
    assert all(sorted(order) == sorted(SIDES) for order in orders)
    assert all(worker.closed for worker in workers.values())


@given(st.integers(1, 60), st.text(max_size=5))
def test_nobody_is_visited_twice_in_succession(cycles: int, seed: str) -> None:
    orders = list(turns(cycles, seed))
    assert len(orders) == cycles
    assert all(sorted(order) == sorted(SIDES) for order in orders)
    visits = [side for order in orders for side in order]
    assert all(one != next_one for one, next_one in pairwise(visits))


def test_everybody_comes_first_about_as_often() -> None:
    first = Counter(order[0] for order in turns(3000, "s"))
    assert all(900 < first[side] < 1100 for side in SIDES)


def test_skewed_noise_is_no_difference(tmp_path: Path) -> None:
    """Equal code with rare slow calls: the median of head over the mean of two lies 3 % off."""
    generator = random.Random(0)

    def durations() -> list[int]:
        return [1_000_000 + int(200_000 * generator.expovariate(1) ** 2) for _ in range(3002)]

    workers = {side: ScriptedWorker(side, [], durations()) for side in SIDES}
    with ProcessTriple(workers.__getitem__, dict.fromkeys(SIDES, tmp_path), [A], {}) as triple:  # type: ignore[arg-type]
        pair = triple.measure(A, 3000, seed="s")
    assert abs(pair.ratio) < 0.01
    assert abs(pair.noise) < 0.01


@pytest.mark.parametrize(("nanoseconds", "expected"), [(1, 10), (99_000, 10), (250_000, 4), (5_000_000, 1)])
def test_a_visit_is_a_millisecond_or_ten_calls_or_one(tmp_path: Path, nanoseconds: int, expected: int) -> None:
    calls: list[tuple[str, int]] = []
    workers = {side: ScriptedWorker(side, calls, [nanoseconds] * 10) for side in SIDES}
    with ProcessTriple(workers.__getitem__, dict.fromkeys(SIDES, tmp_path), [A], {}) as triple:  # type: ignore[arg-type]
        triple.measure(A, 2, seed="s")
    assert {count for _, count in calls[6:]} == {expected}


@pytest.mark.parametrize(("slower", "cycles"), [(1.1, 50), (1.9, 50), (2.01, 6), (4.01, 3), (10, 3), (1000, 3)])
@pytest.mark.parametrize("faster", [False, True])
def test_the_plainer_a_difference_the_fewer_calls_it_takes(
    tmp_path: Path, slower: float, cycles: int, faster: bool
) -> None:
    calls: list[tuple[str, int]] = []
    other = 1 / slower if faster else slower
    workers = {side: ScriptedWorker(side, calls, [10_000_000] * 60) for side in (BASE, TWIN)}
    workers[HEAD] = ScriptedWorker(HEAD, calls, [round(10_000_000 * other)] * 60)
    with ProcessTriple(workers.__getitem__, dict.fromkeys(SIDES, tmp_path), [A], {}) as triple:  # type: ignore[arg-type]
        pair = triple.measure(A, 50, seed="s")
    assert pair.ratio == pytest.approx(math.log(other), abs=1e-6)
    visits = [side for side, _ in calls if side == HEAD]
    # A call of ten seconds is not warmed up again.
    assert len(visits) - (1 if other * 10_000_000 > 1e9 else 2) == cycles
    assert needed_cycles(pair.ratio, 50) == cycles


def test_one_cycle_that_is_not_plain_keeps_a_pair_going() -> None:
    assert is_plain([3.0, 3.0, 3.0, 3.0, 3.0, 3.0])
    assert not is_plain([3.0, 3.0, 3.0, 3.0])
    assert not is_plain([3.0, 3.0, 3.0, 3.0, 3.0, 0.1])
    assert not is_plain([3.0, 3.0, 3.0, 3.0, 3.0, -3.0])
    assert not is_plain([0.0] * 200)
    assert is_plain([0.7, 0.8], late=True)
    assert not is_plain([0.6, 0.8], late=True)


def test_a_slow_call_is_visited_for_one_call_however_fast_the_other_revision_is(tmp_path: Path) -> None:
    calls: list[tuple[str, int]] = []
    workers = {side: ScriptedWorker(side, calls, [100_000] * 20) for side in (BASE, TWIN)}
    workers[HEAD] = ScriptedWorker(HEAD, calls, [80_000_000] * 20)
    with ProcessTriple(workers.__getitem__, dict.fromkeys(SIDES, tmp_path), [A], {}) as triple:  # type: ignore[arg-type]
        triple.measure(A, 10, seed="s")
    assert {count for _, count in calls[6:]} == {1}
    assert len(calls) == 6 + 9


def test_where_one_does_not_start_the_others_are_ended(tmp_path: Path) -> None:
    started: list[ScriptedWorker] = []

    def start(side: str) -> Any:
        if len(started) == 2:
            raise RuntimeError("no more")
        started.append(ScriptedWorker(side, [], []))
        return started[-1]

    with pytest.raises(RuntimeError, match="no more"):
        ProcessTriple(start, dict.fromkeys(SIDES, tmp_path), [A], {})
    assert len(started) == 2
    assert all(worker.closed for worker in started)
