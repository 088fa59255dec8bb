"""The interleaved measurement: all subjects of a group, in balanced order, block by block."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median

import torch

from bench.timing.clocks import Clock

Call = Callable[[], object]


class CallError(Exception):
    """A call failed while it was timed.

    Attributes:
        name: whose call it is.
        said: the error, in one line.
    """

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(name, error)
        self.name = name
        self.said = one_line(error)


def one_line(error: Exception) -> str:
    """An error's class and message, without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())


MOST_CALLS_A_ROUND = 5
SHORT_NS = 5_000_000


def measure_block(
    calls: Mapping[str, Call],
    clock: Clock,
    *,
    rounds: int,
    seed: str,
    calls_per_round: Mapping[str, int] | None = None,
    resets: Mapping[str, Call] | None = None,
    before: Call | None = None,
    tick: Callable[[], object] = lambda: None,
) -> dict[str, list[int]]:
    """Call every subject in every round.

    A round's order is drawn at random and the next round takes it backwards (A B C, C B A): over each pair of rounds
    all subjects have the same mean position, and over the block each follows each of the others about as often, so
    that neither a drift of the machine nor what a neighbour leaves in the caches favours one subject.

    Args:
        calls: subject -> what is timed.
        clock: of the device.
        rounds: how many.
        seed: of the order.
        calls_per_round: how often a subject is called in a round, scattered over it; once, unless said otherwise.
        resets: subject -> what is done after each of its calls, outside of the time.
        before: done before each call, outside of the time.
        tick: called after each round, for a progress bar.

    Returns:
        subject -> nanoseconds, one per round (the mean of its calls), so that equal positions are the same round.

    Raises:
        CallError: a subject's call failed.
    """
    times, after = calls_per_round or {}, resets or {}
    slots = [subject for subject in calls for _ in range(times.get(subject, 1))]
    orders = list(balanced_orders(slots, rounds, seed))
    with garbage_collector_off():
        for order in orders:
            for subject in order:
                try:
                    if before:
                        before()
                    clock.time(calls[subject])
                    if subject in after:
                        after[subject]()
                except Exception as error:
                    clock.durations()
                    raise CallError(subject, error) from error
            tick()
        durations = iter(clock.durations())
    by_subject: dict[str, list[int]] = {subject: [] for subject in calls}
    for order in orders:
        totals = dict.fromkeys(calls, 0)
        for subject in order:
            totals[subject] += next(durations)
        for subject, total in totals.items():
            by_subject[subject].append(round(total / times.get(subject, 1)))
    return by_subject


def balanced_calls(durations: Mapping[str, list[int]]) -> dict[str, int]:
    """How often to call each subject in a round: the fast ones several times.

    A short call is disturbed more, in relation to its length, by what the calls before it left in the caches and in the
    allocator. As many calls as fit into half of the slowest subject's time, or into some milliseconds, cost little and
    make up for that.
    """
    typical = {subject: median(times) for subject, times in durations.items()}
    budget = max(max(typical.values()) / 2, SHORT_NS)
    return {subject: max(1, min(MOST_CALLS_A_ROUND, int(budget / max(time, 1)))) for subject, time in typical.items()}


def balanced_orders(subjects: list[str], rounds: int, seed: str) -> Iterator[list[str]]:
    """Random orders, each followed by its reverse."""
    generator = random.Random(seed)
    order: list[str] = []
    for index in range(rounds):
        order = order[::-1] if index % 2 else generator.sample(subjects, len(subjects))
        yield order


@contextmanager
def garbage_collector_off() -> Iterator[None]:
    """Collect now, and not again inside."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run with that many threads in torch's operators."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


PEAK_SHAPES = ((512, 512, 512), (1024, 1024, 1024), (2048, 768, 3072), (2048, 2048, 2048))
"""(M, N, K) of the products whose best is the peak: which of them is fastest differs from machine to machine."""
PEAK_S = 0.05
MOST_PEAK_CALLS = 100


def peak_gflops(device: str, clock: Clock, shapes: Sequence[tuple[int, int, int]] = PEAK_SHAPES) -> float:
    """What a large float32 matrix product reaches here, in 10⁹ FLOP/s: the best of many calls at several sizes."""
    best = 0.0
    for rows, columns, inner in shapes:
        left, right = torch.randn(rows, inner, device=device), torch.randn(inner, columns, device=device)
        end = time.monotonic() + PEAK_S
        for _ in range(MOST_PEAK_CALLS):
            clock.time(lambda left=left, right=right: left @ right)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            if time.monotonic() > end:
                break
        best = max(best, 2 * rows * columns * inner / min(clock.durations()))
    return best
