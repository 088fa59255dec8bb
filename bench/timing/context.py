"""What a run measures with: device, threads, clock, journal; and how still the machine was meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch

from bench.record.journal import Journal
from bench.record.machine import conditions, fingerprint
from bench.timing.clocks import CLOCKS
from bench.timing.group import AnyCandidate, Comparison, Group, Progress, measure_group
from bench.timing.interleave import peak_gflops, threads


class Rig:
    """Measures groups, all in the same way.

    Attributes:
        noise_floors: group -> its baseline's ratio to itself, of the groups that were reported.

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

    def measure(
        self, comparison: Comparison, subjects: Callable[[], Mapping[str, AnyCandidate]]
    ) -> Group[AnyCandidate]:
        """Make the subjects of a group and measure them together, with the run's threads."""
        with threads(self.num_threads):
            return measure_group(
                comparison,
                subjects(),
                clock=CLOCKS[self.device](),
                journal=self.journal,
                progress=self.progress,
            )

    def timing(self, group: Group[AnyCandidate], name: str) -> dict[str, Any]:
        """The JSON's `timing` of one candidate; the run remembers the group's noise floor."""
        self.noise_floors[group.comparison.key] = group.noise_floor.estimate
        return group.timing(name, self.peak)

    @cached_property
    def peak(self) -> float:
        """10⁹ FLOP/s of a large matrix product, measured once."""
        with threads(self.num_threads):
            return peak_gflops(self.device, CLOCKS[self.device]())

    def summary(self) -> dict[str, Any]:
        """The JSON's `study`, as far as it is about what was measured with and in what circumstances."""
        with threads(self.num_threads):
            machine = fingerprint()
        worst = max((abs(floor - 1) for floor in self.noise_floors.values()), default=None)
        return {
            "device": self.device,
            "threads": self.num_threads,
            "dtype": "float32",
            "torch": torch.__version__,
            "machine": machine,
            "conditions": {"before": self._conditions_before, "after": conditions()},
            "load": {"before": list(self._load_before), "after": list(os.getloadavg())},
            "noise": {"groups": len(self.noise_floors), "worst": worst},
        }
