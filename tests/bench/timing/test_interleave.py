from __future__ import annotations

import gc
from collections import Counter
from statistics import median

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.timing.clocks import CpuClock
from bench.timing.interleave import (
    balanced_calls,
    balanced_orders,
    garbage_collector_off,
    measure_block,
    peak_gflops,
    threads,
)


class CountingClock:
    """A clock without time: a call takes as many nanoseconds as the calls before it."""

    def __init__(self) -> None:
        self._calls: list[int] = []

    def time(self, call) -> None:  # type: ignore[no-untyped-def]
        call()
        self._calls.append(len(self._calls))

    def durations(self) -> list[int]:
        return self._calls


@given(st.integers(1, 8), st.integers(1, 20), st.text())
def test_every_round_has_every_subject_once_and_is_followed_by_its_reverse(
    subjects: int, rounds: int, seed: str
) -> None:
    names = [f"router {index}" for index in range(subjects)]
    orders = list(balanced_orders(names, rounds, seed))
    assert len(orders) == rounds
    assert all(sorted(order) == names for order in orders)
    for forward, backward in zip(orders[::2], orders[1::2], strict=False):
        assert backward == forward[::-1]


def test_all_subjects_have_the_same_mean_position() -> None:
    names = list("abcde")
    positions: Counter[str] = Counter()
    for order in balanced_orders(names, 10, "seed"):
        positions.update({name: order.index(name) for name in names})
    assert len(set(positions.values())) == 1


def test_equal_positions_of_the_result_are_the_same_round() -> None:
    calls: list[str] = []
    subjects = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    durations = measure_block(subjects, CountingClock(), rounds=4, seed="s")
    for round_index in range(4):
        this_round = [durations[name][round_index] for name in "abc"]
        assert sorted(this_round) == [3 * round_index, 3 * round_index + 1, 3 * round_index + 2]
        for name in "abc":
            assert calls[durations[name][round_index]] == name


def test_a_rounds_duration_is_the_mean_of_its_calls() -> None:
    durations = measure_block(
        {"a": lambda: None, "b": lambda: None}, CountingClock(), rounds=2, seed="s", calls_per_round={"a": 3}
    )
    # Four calls a round, numbered on: 0 to 3 sum to 6, 4 to 7 to 22. The mean of a's three is rounded.
    for a, b, total in zip(durations["a"], durations["b"], (6, 22), strict=True):
        assert a == round((total - b) / 3)


def test_fast_subjects_are_called_more_often_and_nobody_less_than_once() -> None:
    milliseconds = {"slowest": 20, "half": 10, "fifth": 4, "tenth": 2, "nothing": 0}
    durations = {subject: [time * 1_000_000] for subject, time in milliseconds.items()}
    assert balanced_calls(durations) == {"slowest": 1, "half": 1, "fifth": 2, "tenth": 5, "nothing": 5}


def test_where_all_are_fast_all_are_called_more_often() -> None:
    # 5 ms hold two calls of 2.4 ms, and five, not more, of 0.6 ms.
    assert balanced_calls({"slowest": [2_400_000], "fast": [600_000]}) == {"slowest": 2, "fast": 5}


def test_a_slow_subject_reads_slow() -> None:
    matrix = torch.randn(200, 200)

    def work() -> None:
        for _ in range(20):
            matrix @ matrix

    durations = measure_block({"nothing": lambda: None, "work": work}, CpuClock(), rounds=6, seed="s")
    assert median(durations["work"]) > median(durations["nothing"])


def test_a_tick_a_round() -> None:
    ticks: list[int] = []
    measure_block({"a": lambda: None}, CpuClock(), rounds=7, seed="s", tick=lambda: ticks.append(1))
    assert len(ticks) == 7


def test_the_garbage_collector_is_off_inside_and_back_after_an_error() -> None:
    assert gc.isenabled()

    def fail_inside() -> None:
        with garbage_collector_off():
            assert not gc.isenabled()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    assert gc.isenabled()


def test_threads_are_set_and_put_back() -> None:
    before = torch.get_num_threads()
    with threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_the_machine_reaches_some_flops() -> None:
    assert peak_gflops("cpu", CpuClock(), [(128, 128, 128), (64, 32, 64)]) > 0.01
