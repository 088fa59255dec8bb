"""What a run measures with: device, threads, journal; and how still the machine was meanwhile."""

from __future__ import annotations

from typing import Any

import torch

from bench.record.journal import Results
from bench.record.machine import conditions, describe_machine
from bench.timing.group import AnyChecked, Group
from bench.timing.interleave import threads
from bench.timing.modes import ClockMode
from harness.progress import Progress


class MeasurementContext:
    """What all suites of a run share.

    Attributes:
        groups: those that were measured, by their keys.
        peak: the most 10⁹ FLOP/s that this machine has reached in the run.

    Args:
        journal: where finished measurements are kept.
        progress: makes a progress bar.
        device: "cpu" or "cuda".
        num_threads: of torch's operators while something is timed.
        clock: what a duration is; by default the device's own timing of eager calls.
    """

    def __init__(
        self, journal: Results, progress: Progress, device: str, num_threads: int, clock: ClockMode | None = None
    ) -> None:
        self.journal = journal
        self.progress = progress
        self.device = device
        self.num_threads = num_threads
        self.clock = clock or ClockMode.parse(None, device=device)
        self.groups: dict[str, Group[Any]] = {}
        self.peak = 0.0
        self._conditions_before = conditions()

    def note_peaks(self, peaks: list[float]) -> None:
        """What processes have reached with large matrix products."""
        self.peak = max([self.peak, *peaks])

    def add(self, group: Group[AnyChecked]) -> Group[AnyChecked]:
        """Take a measured group; a router that was faster than any large matrix product raises the peak."""
        self.groups[group.spec.key] = group
        self.note_peaks([rate for name in group.timed if (rate := group.gflops(name)) is not None])
        return group

    def summary(self) -> dict[str, Any]:
        """The JSON's `study`, as far as it is about what was measured with and in what circumstances."""
        with threads(self.num_threads):
            machine = describe_machine()
        after = conditions()
        return {
            "device": self.device,
            "threads": self.num_threads,
            "dtype": "float32",
            "clock": self.clock.as_dict(),
            "torch": torch.__version__,
            "machine": machine,
            "conditions": {"before": self._conditions_before, "after": after},
            "load": {"before": self._conditions_before["load"], "after": after["load"]},
            "noise": [_noise(group) for group in self.groups.values() if group.spec.twin in group.timed],
        }


def _noise(group: Group[Any]) -> dict[str, Any]:
    """How far equal code differs in a group, and what difference the group can tell."""
    return {
        "scenario": group.spec.scenario,
        "input": group.spec.input,
        "noise_floor": group.noise_floor.as_dict(),
        "resolution": group.resolution,
    }
