"""Benchmarks made ready in a fresh process, and timed call by call."""

from __future__ import annotations

import gc
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench.case import Case
from bench.gate.worker_side.slowdown import slowed
from bench.presets import Preset
from bench.router.calls import RouterCalls
from bench.router.inputs import Inputs
from bench.router.scenarios import get_router_scenario
from bench.timing.interleave import Call
from bench.timing.modes import ClockMode
from bench.timing.placement import padding


class TimedBenchmarks:
    """The calls of some benchmarks, loaded and ready to be timed, with random space between them.

    Args:
        preset: sizes.
        folder: where a `WorkerInputs` has stored inputs and experts.
        benchmarks: what will be asked for.
        slowdowns: benchmark -> by what share of its own time its calls are made slower.
        seed: of the padding.
        device: "cpu" or "cuda", timed as a run does it there by default.
    """

    def __init__(
        self,
        preset: Preset,
        folder: Path,
        benchmarks: Sequence[Case],
        slowdowns: Mapping[str, float],
        seed: int,
        device: str = "cpu",
    ) -> None:
        generator = random.Random(seed)
        self._padding: list[Tensor] = []
        self._clock = ClockMode.parse(None, device=device).clock()
        self._calls: dict[Case, tuple[Call, bool]] = {}
        calls = RouterCalls(Inputs(preset, device), folder)
        for benchmark in benchmarks:
            self._padding += padding(generator)
            call, share = calls.ready(benchmark).call, slowdowns.get(str(benchmark), 0.0)
            gradients = get_router_scenario(benchmark.scenario).gradients
            self._calls[benchmark] = (slowed(call, share) if share else call, gradients)
        gc.collect()
        gc.disable()

    def time(self, benchmark: Case, calls: int) -> list[int]:
        """Nanoseconds of so many calls in a row."""
        call, gradients = self._calls[benchmark]
        with torch.set_grad_enabled(gradients):
            for _ in range(calls):
                self._clock.time(call)
        return self._clock.durations()
