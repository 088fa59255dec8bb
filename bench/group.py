"""One scenario on one input: all its routers, measured together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

import torch

from bench.clocks import Clock
from bench.intervals import Interval, paired_ratio
from bench.journal import Journal
from bench.measure import balanced_calls, measure_block
from bench.presets import Preset
from bench.scenarios import Scenario
from bench.subjects import BASELINE, TWIN, Subject


class Bar(Protocol):
    """What is asked of a progress bar; tqdm's is one."""

    def update(self, n: int = 1) -> object:
        """So many steps done."""


Progress = Callable[[str, int], AbstractContextManager[Bar]]
"""(what, steps) -> a bar."""


@dataclass(frozen=True, eq=False)
class Group:
    """What was measured.

    Attributes:
        scenario: what a call does.
        subjects: router name -> subject; the baseline and its twin are among them.
        blocks: router name -> [block][round] nanoseconds, for those subjects that are right.
        tokens: T of the batch.
        calls_per_round: router name -> of how many calls a round's duration is the mean.
    """

    scenario: Scenario
    subjects: Mapping[str, Subject]
    blocks: Mapping[str, list[list[int]]]
    tokens: int
    calls_per_round: Mapping[str, int]

    def durations(self, router_name: str) -> list[int]:
        """All rounds of all blocks, nanoseconds.

        Raises:
            Exception: what was wrong with this router, which then was not timed.
        """
        error, baseline_error = self.subjects[router_name].error, self.subjects[BASELINE].error
        if error is not None:
            raise error
        if baseline_error is not None:
            raise RuntimeError(f"the baseline {BASELINE} failed: nothing was timed in this group") from baseline_error
        return [duration for block in self.blocks[router_name] for duration in block]

    @property
    def noise_floor(self) -> Interval:
        """The baseline against itself."""
        return paired_ratio(self.blocks[TWIN], self.blocks[BASELINE])

    def timing(self, router_name: str, peak_gflops: float) -> dict[str, Any]:
        """The JSON's `timing` of one router."""
        blocks = self.blocks[router_name]
        medians_us = [median(block) / 1e3 for block in blocks]
        us_per_call = median(medians_us)
        return {
            "clock": "replayed: interleaved measurement, read back by pytest-benchmark",
            "repetitions": len(blocks),
            "rounds": len(blocks[0]),
            "calls_per_round": self.calls_per_round[router_name],
            "us_per_call": us_per_call,
            "ns_per_token": us_per_call * 1e3 / self.scenario.tokens(self.tokens),
            "block_median_us": medians_us,
            "baseline": BASELINE,
            "ratio": paired_ratio(blocks, self.blocks[BASELINE]).as_dict(),
            "noise_floor": self.noise_floor.as_dict(),
            "gflops": self.subjects[router_name].flops / us_per_call / 1e3,
            "peak_gflops": peak_gflops,
        }


def measure_group(
    key: str,
    subjects: Mapping[str, Subject],
    scenario: Scenario,
    *,
    preset: Preset,
    clock: Clock,
    journal: Journal,
    progress: Progress,
) -> tuple[dict[str, list[list[int]]], dict[str, int]]:
    """Block by block, each in the journal before the next begins; blocks found there are not measured again.

    Args:
        key: names the group in the journal and on the progress bar.
        subjects: those with an error are left out; without the baseline nothing is measured.
        scenario: says whether autograd is on.
        preset: how many blocks and rounds.
        clock: of the device.
        journal: keeps finished blocks.
        progress: makes the bar.

    Returns:
        router name -> [block][round] nanoseconds, and router name -> calls per round.
    """
    calls = {name: subject.call for name, subject in subjects.items() if subject.call is not None}
    blocks: dict[str, list[list[int]]] = {name: [] for name in calls}
    if BASELINE not in calls:
        return blocks, {}
    steps = preset.warmup + preset.repetitions * preset.rounds
    with progress(key, steps) as bar, torch.set_grad_enabled(scenario.gradients):
        warm_up = measure_block(calls, clock, rounds=preset.warmup, seed=key, tick=bar.update)
        calls_per_round = journal.get(f"{key} | calls per round")
        if calls_per_round is None:
            calls_per_round = balanced_calls(warm_up)
            journal.append(f"{key} | calls per round", calls_per_round)
        for index in range(preset.repetitions):
            block_key = f"{key} | block {index}"
            block = journal.get(block_key)
            if block is None:
                block = measure_block(
                    calls,
                    clock,
                    rounds=preset.rounds,
                    seed=block_key,
                    calls_per_round=calls_per_round,
                    tick=bar.update,
                )
                journal.append(block_key, block)
            else:
                bar.update(preset.rounds)
            for name, durations in block.items():
                blocks[name].append(durations)
    return blocks, calls_per_round
