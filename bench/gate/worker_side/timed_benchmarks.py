"""Benchmarks made ready in a fresh process, and timed call by call. Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

import gc
import random
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.case import Case
from bench.gate.worker_side.slowdown import slowed
from bench.presets import Preset
from bench.router.inputs import Inputs
from bench.router.prepared import draw_router
from bench.router.scenarios import get_router_scenario
from bench.timing.clocks import CLOCKS
from bench.timing.interleave import Call
from routers import FeedForwardExperts

DEVICE = "cpu"
SEED = 0
BATCH = "hidden_states"
"""The key of the batch in a stored input."""
PADDING_BLOCKS = 64
PADDING_BYTES = 1 << 16


class TimedBenchmarks:
    """The calls of some benchmarks, loaded and ready to be timed.

    Where things lie in memory is a part of what is measured and differs from process to process; blocks of random size
    between them make sure of that even where a system places every process alike.

    Args:
        preset: sizes.
        folder: where a `WorkerInputs` has stored inputs and experts.
        benchmarks: what will be asked for.
        slowdowns: benchmark -> by what share of its own time its calls are made slower.
        seed: of the padding.
    """

    def __init__(
        self,
        preset: Preset,
        folder: Path,
        benchmarks: Sequence[Case],
        slowdowns: Mapping[str, float],
        seed: int,
    ) -> None:
        generator = random.Random(seed)
        self._padding: list[Tensor] = []
        self._clock = CLOCKS[DEVICE]()
        self._calls: dict[Case, tuple[Call, bool]] = {}
        self._stored = cache(lambda name: _load(folder / f"{name}.safetensors"))
        inputs = Inputs(preset, DEVICE)
        experts = cache(self._experts)
        for benchmark in benchmarks:
            sizes = [generator.randrange(1, PADDING_BYTES) for _ in range(PADDING_BLOCKS)]
            self._padding += [torch.empty(size, dtype=torch.uint8) for size in sizes]
            scenario = get_router_scenario(benchmark.scenario)
            hidden_states = self._stored(benchmark.input)[BATCH]
            router = draw_router(benchmark.router, inputs, hidden_states.shape[1], SEED)
            with torch.set_grad_enabled(scenario.gradients):
                call = scenario.prepare(router, hidden_states, partial(experts, benchmark.input))
            share = slowdowns.get(str(benchmark), 0.0)
            self._calls[benchmark] = (slowed(call, share) if share else call, scenario.gradients)
        gc.collect()
        gc.disable()

    def time(self, benchmark: Case, calls: int) -> list[int]:
        """Nanoseconds of so many calls in a row."""
        call, gradients = self._calls[benchmark]
        with torch.set_grad_enabled(gradients):
            for _ in range(calls):
                self._clock.time(call)
        return self._clock.durations()

    def _experts(self, input_name: str) -> nn.Module:
        weights = {key: tensor for key, tensor in self._stored(input_name).items() if key != BATCH}
        num_experts, intermediate_size, hidden_size = weights["up_weight"].shape
        with torch.device("meta"):
            experts = FeedForwardExperts(num_experts, hidden_size, intermediate_size)
        experts.load_state_dict(weights, assign=True)
        return experts


def _load(path: Path) -> dict[str, Tensor]:
    """Tensors in memory of this process.

    As loaded they are the file itself, mapped: two processes that load the same file share its pages, each warms the
    caches for the other, and both look 3 % faster than a third.
    """
    return {key: tensor.clone() for key, tensor in load_file(path).items()}
