"""The inputs and experts of a revision's benchmarks, made once and stored, and the benchmarks' counts and metrics.

Axes: T tokens, D hidden size, E experts, I intermediate size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from torch import nn

from bench.case import Case
from bench.presets import Preset
from bench.router.behaviour import observe
from bench.router.calls import SEED, store_input
from bench.router.checked import CheckedRouter, check, count, draw_router
from bench.router.experts import KINDS, ExpertBanks, make_experts
from bench.router.inputs import Inputs
from bench.router.scenarios import get_router_scenario
from routers.parameters import count_parameters


class WorkerInputs:
    """The inputs and experts of some benchmarks.

    Args:
        preset: sizes.
        models: replaces the preset's, if given.
        benchmarks: what will be asked for.
        device: "cpu" or "cuda".
    """

    def __init__(
        self, preset: Preset, models: tuple[str, ...], benchmarks: Sequence[Case], device: str = "cpu"
    ) -> None:
        self.inputs = Inputs(preset, device, models)
        self.batches = {
            name: self.inputs.batch(name, SEED).hidden_states
            for name in sorted({benchmark.input for benchmark in benchmarks})
        }
        self.experts = {
            name: next(iter(make_experts(self.inputs, name, SEED, KINDS[:1]).banks.values()))
            for name in sorted({each.input for each in benchmarks if get_router_scenario(each.scenario).with_experts})
        }
        # Asked for by router, an input's one after the other: the last one's are kept, which may be 100 MB.
        self._banks = lru_cache(maxsize=1)(self._make_banks)

    def store(self, folder: Path) -> None:
        """Write `<input>.safetensors`: a fresh process reads it in a tenth of a second instead of making it in ten."""
        for name, batch in self.batches.items():
            store_input(folder, name, batch, self.experts.get(name))

    def shapes(self) -> dict[str, list[int]]:
        """Input -> [T, D]."""
        return {name: list(batch.shape) for name, batch in self.batches.items()}

    def facts(self, benchmarks: Sequence[Case]) -> dict[str, Any]:
        """The checks, counts and metrics of the benchmarks.

        Returns:
            checks: benchmark -> what its router fails, or None.
            figures: [benchmark, name of the count or metric, value].
        """
        checks: dict[str, str | None] = {}
        figures: list[tuple[str, str, float | None]] = []
        checked: dict[tuple[str, str], CheckedRouter] = {}  # the same in every scenario
        for benchmark in benchmarks:
            experts: partial[nn.Module] = partial(self.experts.__getitem__, benchmark.input)
            scenario = get_router_scenario(benchmark.scenario)
            on_input = benchmark.router, benchmark.input
            if on_input not in checked:
                checked[on_input] = check(benchmark.router, self.inputs, benchmark.input)
            prepared = count(checked[on_input], scenario, self.inputs, benchmark.input, experts)
            error, router, name = prepared.error, prepared.router, str(benchmark)
            checks[name] = None if error is None else f"{type(error).__name__}: {error}"
            if router is not None:
                figures.append((name, "parameters", count_parameters(router, trainable=True)))
                figures.append((name, "flops", prepared.flops))
                figures.append((name, "peak_memory", prepared.peak_memory))
        for input_name in sorted({benchmark.input for benchmark in benchmarks}):
            sound = {each.router for each in benchmarks if each.input == input_name and checks[str(each)] is None}
            figures += self._behaviour(input_name, sorted(sound))
        return {"checks": checks, "figures": figures}

    def _make_banks(self, input_name: str) -> ExpertBanks:
        return make_experts(self.inputs, input_name, SEED)

    def _behaviour(self, input_name: str, routers: Sequence[str]) -> Iterator[tuple[str, str, float]]:
        """Every metric of the routers' behaviour on an input, with one seed."""
        batch, experts = self.inputs.batch(input_name, SEED), self._banks(input_name)
        for name in routers:
            router = draw_router(name, self.inputs.at(input_name), batch.hidden_states.shape[1], SEED)
            observation = observe(router, batch, experts, self.inputs.preset.output_tokens, figures=False)
            figures = dict(observation.metrics)
            for kind, values in observation.layer.items():
                figures |= {f"{figure} ({kind})": value for figure, value in values.items() if value is not None}
            yield from ((f"{input_name} | {name}", figure, value) for figure, value in figures.items())
