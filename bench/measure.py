"""The interleaved measurement: all subjects of a group, in balanced order, block by block."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch

from bench.clocks import Clock

Call = Callable[[], object]


def measure_block(
    calls: Mapping[str, Call], clock: Clock, *, rounds: int, seed: str, tick: Callable[[], object] = lambda: None
) -> dict[str, list[int]]:
    """Call every subject once a round.

    A round's order is drawn at random and the next round takes it backwards (A B C, C B A): over each pair of rounds
    all subjects have the same mean position, and over the block each follows each of the others about as often, so
    that neither a drift of the machine nor what a neighbour leaves in the caches favours anybody.

    Args:
        calls: subject -> what is timed.
        clock: of the device.
        rounds: how many.
        seed: of the order.
        tick: called after each round, for a progress bar.

    Returns:
        subject -> nanoseconds, one per round, so that equal positions are the same round.
    """
    orders = balanced_orders(list(calls), rounds, seed)
    sequence = []
    with garbage_collector_off():
        for order in orders:
            for subject in order:
                clock.time(calls[subject])
            sequence += order
            tick()
        durations = clock.durations()
    by_subject: dict[str, list[int]] = {subject: [] for subject in calls}
    for subject, duration in zip(sequence, durations, strict=True):
        by_subject[subject].append(duration)
    return by_subject


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


def peak_gflops(device: str, clock: Clock, *, size: int = 1024, calls: int = 10) -> float:
    """What a large float32 matrix product reaches here, in 10⁹ FLOP/s: the best of some calls."""
    left, right = torch.randn(2, size, size, device=device).unbind()
    for _ in range(calls):
        clock.time(lambda: left @ right)
    return float(2 * size**3 / min(clock.durations()))
