"""Clocks: what a duration is on each device, and the one that replays recorded durations to pytest-benchmark.

All durations are whole nanoseconds, which JSON keeps exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch


class Clock(Protocol):
    """Times calls. `durations` is read once, after the last call, so that a device clock need not wait in between."""

    def time(self, call: Callable[[], object]) -> None:
        """Make the call and note how long it took."""

    def durations(self) -> list[int]:
        """Nanoseconds of every call since the last reading, in order."""


class CpuClock:
    """`time.perf_counter_ns` around the call."""

    def __init__(self) -> None:
        self._durations: list[int] = []

    def time(self, call: Callable[[], object]) -> None:
        """Make the call and note how long it took."""
        start = time.perf_counter_ns()
        call()
        self._durations.append(time.perf_counter_ns() - start)

    def durations(self) -> list[int]:
        """Nanoseconds of every call since the last reading."""
        durations, self._durations = self._durations, []
        return durations


class CudaClock:
    """A pair of CUDA events around the call, read after one synchronisation at the end: the device's time."""

    def __init__(self) -> None:
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def time(self, call: Callable[[], object]) -> None:
        """Enqueue the call between two events."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch's own
        start.record()
        call()
        end.record()
        self._events.append((start, end))

    def durations(self) -> list[int]:
        """Nanoseconds between the events of every call since the last reading."""
        torch.cuda.synchronize()
        events, self._events = self._events, []
        return [round(start.elapsed_time(end) * 1e6) for start, end in events]


class HostClock:
    """`time.perf_counter_ns` around the call and what it has the device do: the paper's latency.

    Args:
        synchronize: waits until the device has nothing left to do.
    """

    def __init__(self, synchronize: Callable[[], object] = torch.cuda.synchronize) -> None:
        self._synchronize = synchronize
        self._durations: list[int] = []

    def time(self, call: Callable[[], object]) -> None:
        """Wait, make the call, wait for it, and note how long that took."""
        self._synchronize()  # what was done between two calls is not of this one's time
        start = time.perf_counter_ns()
        call()
        self._synchronize()
        self._durations.append(time.perf_counter_ns() - start)

    def durations(self) -> list[int]:
        """Nanoseconds of every call since the last reading."""
        durations, self._durations = self._durations, []
        return durations


class ReplayClock:
    """A timer for pytest-benchmark that returns recorded durations, exactly.

    pytest-benchmark reads its timer before and after each round; the readings here are 0 and the duration, in seconds.
    A reading too many is an error, not a wrong number.
    """

    __name__ = "replayed"

    def __init__(self) -> None:
        self._readings: list[float] = []

    def load(self, durations: Sequence[int]) -> None:
        """Nanoseconds to replay, in order."""
        self._readings = [reading for duration in reversed(durations) for reading in (duration * 1e-9, 0.0)]

    def __call__(self) -> float:
        """The next reading, in seconds."""
        return self._readings.pop()
