from __future__ import annotations

from types import SimpleNamespace

import pytest

from bench.gate.worker_side.slowdown import slowed


class Clock:
    """A nanosecond passes whenever it is read."""

    def __init__(self) -> None:
        self.now = 0

    def perf_counter_ns(self) -> int:
        self.now += 1
        return self.now


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.2, 1.0])
def test_the_work_takes_that_share_of_the_calls_own_time(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    clock = Clock()
    monkeypatch.setattr("bench.gate.worker_side.slowdown.time", clock)

    def call() -> str:
        clock.now += 9_999  # and the second reading makes it 10,000
        return "result"

    again = slowed(call, share)
    again()
    before = clock.now
    assert again() == "result"
    assert clock.now - before == 1 + 10_000 * (1 + share)


def test_the_first_call_of_a_process_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # It takes 0.2 s for what happens once in a process: made a thousand times as slow, more than an answer may take.
    clock = Clock()
    monkeypatch.setattr("bench.gate.worker_side.slowdown.time", clock)

    def call() -> None:
        clock.now += 200_000_000

    slowed(call, 999.0)()
    assert clock.now < 201_000_000


def test_a_call_that_fails_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.gate.worker_side.slowdown.time", SimpleNamespace(perf_counter_ns=lambda: 0))

    def call() -> None:
        raise ValueError("no good")

    with pytest.raises(ValueError, match="no good"):
        slowed(call, 0.1)()
