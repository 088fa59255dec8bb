"""What a run measures with: device, threads, clock, journal; and how still the machine was meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from bench.record.journal import Journal
from bench.record.machine import conditions, describe_machine
from bench.timing.clocks import CLOCKS
from bench.timing.group import AnyTimedCall, Group, GroupSpec, measure_group
from bench.timing.interleave import peak_gflops, threads
from harness.progress import Progress


class MeasurementContext:
    """Measures groups, all in the same way.

    Attributes:
        noise_floors: key of a group that was timed -> its baseline's ratio to itself.

    Args:
        journal: where finished measurements are kept.
        progress: makes a progress bar.
        device: "cpu" or "cuda".
        num_threads: of torch's operators while something is timed.
    """

    def __init__(self, journal: Journal, progress: Progress, device: str, num_threads: int) -> None:
        self.journal = journal
        self.progress = progress
        self.device = device
        self.num_threads = num_threads
        self.noise_floors: dict[str, float] = {}
        self._load_before = os.getloadavg()
        self._conditions_before = conditions()

    def measure(self, spec: GroupSpec, prepare: Callable[[], Mapping[str, AnyTimedCall]]) -> Group[AnyTimedCall]:
        """Prepare the calls of a group and measure them together, with the run's threads."""
        with threads(self.num_threads):
            group = measure_group(
                spec, prepare(), clock=CLOCKS[self.device](), journal=self.journal, progress=self.progress
            )
        # What the calls hold (models, caches, optimisers) is let go: other groups come, and each has as much.
        done = {name: replace(call, call=None, reset=None) for name, call in group.calls.items()}
        measured = replace(group, calls=done)
        if spec.baseline in measured.blocks:
            self.noise_floors[spec.key] = measured.noise_floor.estimate
        return measured

    @cached_property
    def peak(self) -> float:
        """10⁹ FLOP/s of a large matrix product, measured once."""
        with threads(self.num_threads):
            return peak_gflops(self.device, CLOCKS[self.device]())

    def summary(self) -> dict[str, Any]:
        """The JSON's `study`, as far as it is about what was measured with and in what circumstances."""
        with threads(self.num_threads):
            machine = describe_machine()
        floors = self.noise_floors.values()
        return {
            "device": self.device,
            "threads": self.num_threads,
            "dtype": "float32",
            "torch": torch.__version__,
            "machine": machine,
            "conditions": {"before": self._conditions_before, "after": conditions()},
            "load": {"before": list(self._load_before), "after": list(os.getloadavg())},
            "noise": {"groups": len(floors), "worst": max((abs(floor - 1) for floor in floors), default=None)},
        }
