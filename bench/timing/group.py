"""One group of subjects that are measured together: a scenario on one input, with all its routers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median
from typing import Any, Generic, Protocol, TypeVar

import torch

from bench.record.journal import Journal
from bench.timing.clocks import Clock
from bench.timing.interleave import Call, balanced_calls, measure_block
from bench.timing.intervals import Interval, paired_ratio


class Bar(Protocol):
    """What is asked of a progress bar; tqdm's is one."""

    def update(self, n: int = 1) -> object:
        """So many steps done."""


Progress = Callable[[str, int], AbstractContextManager[Bar]]
"""(what, steps) -> a bar."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """Something ready to be timed, or the reason why it cannot be.

    Attributes:
        call: what is timed.
        reset: puts back what a call has changed, after each and not timed; None where there is nothing to put back.
        flops: of one call, or None where nobody has counted them.
        peak_memory: of one call, bytes, or None.
        error: what is wrong; there is no call then.
    """

    call: Call | None = None
    reset: Call | None = None
    flops: int | None = None
    peak_memory: int | None = None
    error: Exception | None = None


AnyCandidate = TypeVar("AnyCandidate", bound=Candidate, covariant=True)


@dataclass(frozen=True)
class Comparison:
    """What is measured, against what, and how much of it.

    Attributes:
        key: names the group in the journal and on the progress bar.
        baseline: the candidate that the others are compared with.
        twin: the baseline a second time, its own object: the two must measure alike, and how far they do is the noise
            floor.
        gradients: calls run with autograd on.
        tokens: how many one call handles; 0 where it handles none.
        warmup: rounds before the first block that are not kept.
        repetitions: blocks.
        rounds: in a block.
    """

    key: str
    baseline: str
    twin: str
    gradients: bool
    tokens: int
    warmup: int
    repetitions: int
    rounds: int


@dataclass(frozen=True, eq=False)
class Group(Generic[AnyCandidate]):
    """What was measured.

    Attributes:
        comparison: what was asked for.
        subjects: name -> candidate; the baseline and its twin are among them.
        blocks: name -> [block][round] nanoseconds, for those candidates that are right.
        calls_per_round: name -> of how many calls a round's duration is the mean.
    """

    comparison: Comparison
    subjects: Mapping[str, AnyCandidate]
    blocks: Mapping[str, list[list[int]]]
    calls_per_round: Mapping[str, int]

    def durations(self, name: str) -> list[int]:
        """All rounds of all blocks, nanoseconds.

        Raises:
            Exception: what was wrong with this candidate, which then was not timed.
        """
        baseline = self.comparison.baseline
        error, baseline_error = self.subjects[name].error, self.subjects[baseline].error
        if error is not None:
            raise error
        if baseline_error is not None:
            raise RuntimeError(f"the baseline {baseline} failed: nothing was timed in this group") from baseline_error
        return [duration for block in self.blocks[name] for duration in block]

    @property
    def noise_floor(self) -> Interval:
        """The baseline against itself."""
        return paired_ratio(self.blocks[self.comparison.twin], self.blocks[self.comparison.baseline])

    def timing(self, name: str, peak_gflops: float) -> dict[str, Any]:
        """The JSON's `timing` of one candidate."""
        blocks, flops = self.blocks[name], self.subjects[name].flops
        tokens, baseline = self.comparison.tokens, self.comparison.baseline
        medians_us = [median(block) / 1e3 for block in blocks]
        us_per_call = median(medians_us)
        return {
            "clock": "replayed: interleaved measurement, read back by pytest-benchmark",
            "repetitions": len(blocks),
            "rounds": len(blocks[0]),
            "calls_per_round": self.calls_per_round[name],
            "us_per_call": us_per_call,
            "ns_per_token": us_per_call * 1e3 / tokens if tokens else None,
            "block_median_us": medians_us,
            "baseline": baseline,
            "ratio": paired_ratio(blocks, self.blocks[baseline]).as_dict(),
            "noise_floor": self.noise_floor.as_dict(),
            "gflops": None if flops is None else flops / us_per_call / 1e3,
            "peak_gflops": peak_gflops,
        }


def measure_group(
    comparison: Comparison,
    subjects: Mapping[str, AnyCandidate],
    *,
    clock: Clock,
    journal: Journal,
    progress: Progress,
) -> Group[AnyCandidate]:
    """Block by block, each in the journal before the next begins; blocks found there are not measured again.

    Args:
        comparison: what, against what and how much.
        subjects: those with an error are left out; without the baseline nothing is measured.
        clock: of the device.
        journal: keeps finished blocks.
        progress: makes the bar.
    """
    key, rounds = comparison.key, comparison.rounds
    calls = {name: subject.call for name, subject in subjects.items() if subject.call is not None}
    resets = {name: subject.reset for name, subject in subjects.items() if subject.reset is not None}
    blocks: dict[str, list[list[int]]] = {name: [] for name in calls}
    if comparison.baseline not in calls:
        return Group(comparison, subjects, blocks, {})
    steps = comparison.warmup + comparison.repetitions * rounds
    with progress(key, steps) as bar, torch.set_grad_enabled(comparison.gradients):
        warm_up = measure_block(calls, clock, rounds=comparison.warmup, seed=key, resets=resets, tick=bar.update)
        calls_per_round = journal.get(f"{key} | calls per round")
        if calls_per_round is None:
            calls_per_round = balanced_calls(warm_up)
            journal.append(f"{key} | calls per round", calls_per_round)
        for index in range(comparison.repetitions):
            block_key = f"{key} | block {index}"
            block = journal.get(block_key)
            if block is None:
                block = measure_block(
                    calls,
                    clock,
                    rounds=rounds,
                    seed=block_key,
                    calls_per_round=calls_per_round,
                    resets=resets,
                    tick=bar.update,
                )
                journal.append(block_key, block)
            else:
                bar.update(rounds)
            for name, durations in block.items():
                blocks[name].append(durations)
    return Group(comparison, subjects, blocks, calls_per_round)
