from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.timing.clocks import CpuClock, CudaClock, HostClock, ReplayClock


def test_the_cpu_clock_times_every_call_in_order() -> None:
    clock = CpuClock()
    clock.time(lambda: time.sleep(0.02))
    clock.time(lambda: None)
    slept, nothing = clock.durations()
    assert slept >= 20_000_000 > nothing >= 0


def test_reading_the_durations_empties_the_clock() -> None:
    clock = CpuClock()
    clock.time(lambda: None)
    assert len(clock.durations()) == 1
    assert clock.durations() == []


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_the_replay_is_exact(durations: list[int]) -> None:
    clock = ReplayClock()
    clock.load(durations)
    for duration in durations:
        start, end = clock(), clock()
        assert end - start == duration * 1e-9


def test_a_reading_too_many_is_an_error() -> None:
    clock = ReplayClock()
    clock.load([5])
    clock(), clock()
    with pytest.raises(IndexError):
        clock()


def test_the_hosts_clock_waits_for_the_device_before_a_call_and_times_the_wait_after_it() -> None:
    done: list[str] = []

    def synchronize() -> None:
        done.append("waited")
        time.sleep(0.02)

    clock = HostClock(synchronize)
    clock.time(lambda: done.append("called"))
    assert done == ["waited", "called", "waited"]
    (duration,) = clock.durations()
    assert 20_000_000 <= duration < 40_000_000
    assert clock.durations() == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_events_see_the_work_and_not_its_launch() -> None:
    matrix = torch.randn(4096, 4096, device="cuda")
    clock = CudaClock()
    for _ in range(3):
        clock.time(lambda: matrix @ matrix)
    launch = time.perf_counter_ns()
    _ = matrix @ matrix
    launch = time.perf_counter_ns() - launch
    durations = clock.durations()
    assert len(durations) == 3
    assert min(durations) > launch
