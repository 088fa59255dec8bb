"""One group of subjects that are measured together: a scenario on one input, with all its routers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Generic, TypeVar

import torch

from bench.record.journal import Journal
from bench.timing.clocks import Clock
from bench.timing.interleave import Call, balanced_calls, measure_block
from bench.timing.intervals import Interval, paired_ratio
from harness.progress import Progress


@dataclass(frozen=True, eq=False)
class TimedCall:
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


AnyTimedCall = TypeVar("AnyTimedCall", bound=TimedCall, covariant=True)


@dataclass(frozen=True)
class GroupSpec:
    """What is measured, against what, and how much of it.

    Attributes:
        key: names the group in the journal and on the progress bar.
        baseline: the call that the others are compared with.
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
class Group(Generic[AnyTimedCall]):
    """What was measured.

    Attributes:
        spec: what was asked for.
        calls: name -> what was timed; the baseline and its twin are among them.
        blocks: name -> [block][round] nanoseconds, of those calls that are right.
        calls_per_round: name -> of how many calls a round's duration is the mean.
    """

    spec: GroupSpec
    calls: Mapping[str, AnyTimedCall]
    blocks: Mapping[str, list[list[int]]]
    calls_per_round: Mapping[str, int]

    def durations(self, name: str) -> list[int]:
        """All rounds of all blocks, nanoseconds.

        Raises:
            Exception: what was wrong with this call, which then was not timed.
        """
        baseline = self.spec.baseline
        error, baseline_error = self.calls[name].error, self.calls[baseline].error
        if error is not None:
            raise error
        if baseline_error is not None:
            raise RuntimeError(f"the baseline {baseline} failed: nothing was timed in this group") from baseline_error
        return [duration for block in self.blocks[name] for duration in block]

    @property
    def noise_floor(self) -> Interval:
        """The baseline against itself."""
        return paired_ratio(self.blocks[self.spec.twin], self.blocks[self.spec.baseline])

    def timing(self, name: str, peak_gflops: float) -> dict[str, Any]:
        """The JSON's `timing` of one call."""
        blocks, flops = self.blocks[name], self.calls[name].flops
        tokens, baseline = self.spec.tokens, self.spec.baseline
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
    spec: GroupSpec,
    timed: Mapping[str, AnyTimedCall],
    *,
    clock: Clock,
    journal: Journal,
    progress: Progress,
) -> Group[AnyTimedCall]:
    """Block by block, each in the journal before the next begins; blocks found there are not measured again.

    Args:
        spec: what, against what and how much.
        timed: calls by name; those with an error are left out; without the baseline nothing is measured.
        clock: of the device.
        journal: keeps finished blocks.
        progress: makes the bar.
    """
    key, rounds = spec.key, spec.rounds
    calls = {name: each.call for name, each in timed.items() if each.call is not None}
    resets = {name: each.reset for name, each in timed.items() if each.reset is not None}
    blocks: dict[str, list[list[int]]] = {name: [] for name in calls}
    if spec.baseline not in calls:
        return Group(spec, timed, blocks, {})
    steps = spec.warmup + spec.repetitions * rounds
    with progress(key, steps) as bar, torch.set_grad_enabled(spec.gradients):
        warm_up = measure_block(calls, clock, rounds=spec.warmup, seed=key, resets=resets, tick=bar.update)
        calls_per_round = journal.get(f"{key} | calls per round")
        if calls_per_round is None:
            calls_per_round = balanced_calls(warm_up)
            journal.append(f"{key} | calls per round", calls_per_round)
        for index in range(spec.repetitions):
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
    return Group(spec, timed, blocks, calls_per_round)
