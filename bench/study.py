"""One run: which groups are measured, in what order, and what each benchmark reports.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import cache, cached_property, lru_cache
from typing import Any

import torch

from bench.behaviour import Observation, combine, observe
from bench.clocks import CLOCKS
from bench.experts import KINDS, intermediate_size, make_experts
from bench.group import Bar, Group, Progress, measure_group
from bench.inputs import INPUTS, PROSE, SHAKESPEARE, Inputs
from bench.journal import Journal
from bench.machine import conditions, fingerprint
from bench.measure import peak_gflops, threads
from bench.presets import Preset
from bench.scenarios import SCENARIOS
from bench.subjects import BASELINE, TWIN, Subject, draw_router, make_subject

SCHEMA = 1


class Study:
    """Measures on demand and remembers.

    Args:
        preset: sizes and amounts.
        inputs: where batches come from.
        journal: where finished measurements are kept.
        progress: makes a progress bar.
        device: "cpu" or "cuda".
        num_threads: of torch's operators while something is timed.
    """

    def __init__(
        self, preset: Preset, inputs: Inputs, journal: Journal, progress: Progress, device: str, num_threads: int
    ) -> None:
        self.preset = preset
        self.inputs = inputs
        self.journal = journal
        self.progress = progress
        self.device = device
        self.num_threads = num_threads
        self.planned: dict[tuple[str, str], list[str]] = {}
        self.classes: dict[str, str] = {}
        self.noise_floors: dict[tuple[str, str], float] = {}
        self.load_before = os.getloadavg()
        self.conditions_before = conditions()
        self.group = cache(self._group)
        self.observations = cache(self._observations)
        self.experts = lru_cache(maxsize=1)(self._experts)  # one input's at a time: a bank is large

    def plan(self, scenario: str, input_name: str, router_name: str) -> None:
        """A benchmark will ask for this router: it is measured together with the others of its group."""
        self.planned.setdefault((scenario, input_name), []).append(router_name)

    def durations(self, scenario: str, input_name: str, router_name: str) -> list[int]:
        """All rounds of a router, nanoseconds; raises what was wrong with it, if it was not timed."""
        return self.group(scenario, input_name).durations(router_name)

    def check(self, scenario: str, input_name: str, router_name: str) -> None:
        """Compare a router with the reference and make one call, without timing anything.

        Raises:
            Exception: what is wrong with it.
        """
        subject = self._subject(scenario, input_name, router_name)
        if subject.error is not None:
            raise subject.error

    def extra_info(self, scenario: str, input_name: str, router_name: str) -> dict[str, Any]:
        """The JSON entry of one benchmark, as README.md beside this file describes it."""
        group, batch = self.group(scenario, input_name), self.inputs.batch(input_name, 0)
        router = group.subjects[router_name].router
        assert router is not None
        self.noise_floors[scenario, input_name] = group.noise_floor.estimate
        self.classes[router_name] = f"{type(router).__module__}.{type(router).__qualname__}"
        observations = self.observations(input_name)[router_name]
        if isinstance(observations, Exception):
            raise observations
        return {
            "schema": SCHEMA,
            "scenario": scenario,
            "router": router_name,
            "input": input_name,
            "input_source": self.inputs.describe(input_name),
            "num_tokens": group.tokens,
            "batch_size": batch.batch_size,
            "sequence_length": batch.sequence_length,
            "hidden_size": router.hidden_size,
            "intermediate_size": intermediate_size(self.inputs, input_name),
            "num_experts": router.num_experts,
            "top_k": self.preset.top_k,
            "experts_per_token": router.top_k,
            "dtype": "float32",
            "device": self.device,
            "threads": self.num_threads,
            "preset": self.preset.name,
            "parameters": sum(parameter.numel() for parameter in router.parameters() if parameter.requires_grad),
            "flops": group.subjects[router_name].flops,
            "peak_memory": group.subjects[router_name].peak_memory,
            "timing": group.timing(router_name, self.peak),
            "behaviour": combine(observations),
        } | ({"figures": observations[0].figures} if scenario == "router" else {})

    def summary(self) -> dict[str, Any]:
        """The JSON's `study`: what holds for the whole run."""
        inputs_used = {input_name for _, input_name in self.planned}
        model, texts = None, {}
        if any(INPUTS[name].pretrained for name in inputs_used):
            encoder = self.inputs.encoder
            model = asdict(encoder.asset) | {"hidden_size": encoder.hidden_size}
            del model["path"]
            sources = {SHAKESPEARE: {"contextual", "in_place", "matched"}, PROSE: {"prose"}}
            for text in (text for text, users in sources.items() if users & inputs_used):
                asset = self.inputs.text(text)
                texts[text] = {"source": asset.source, "sha256": asset.sha256, "characters": len(asset.text)}
        with threads(self.num_threads):
            machine = fingerprint()
        worst = max((abs(floor - 1) for floor in self.noise_floors.values()), default=None)
        return {
            "schema": SCHEMA,
            "preset": asdict(self.preset),
            "device": self.device,
            "threads": self.num_threads,
            "dtype": "float32",
            "torch": torch.__version__,
            "routers": {name: {"class": self.classes[name]} for name in sorted(self.classes)},
            "model": model,
            "texts": texts,
            "machine": machine,
            "conditions": {"before": self.conditions_before, "after": conditions()},
            "load": {"before": list(self.load_before), "after": list(os.getloadavg())},
            "noise": {"groups": len(self.noise_floors), "worst": worst},
        }

    @cached_property
    def peak(self) -> float:
        """10⁹ FLOP/s of a large matrix product, measured once."""
        with threads(self.num_threads):
            return peak_gflops(self.device, CLOCKS[self.device]())

    def _group(self, scenario_name: str, input_name: str) -> Group:
        names = [BASELINE, TWIN, *(name for name in self.planned[scenario_name, input_name] if name != BASELINE)]
        scenario = SCENARIOS[scenario_name]
        with threads(self.num_threads):
            subjects = {name: self._subject(scenario_name, input_name, name) for name in names}
            blocks, calls_per_round = measure_group(
                f"{scenario_name} | {input_name}",
                subjects,
                scenario,
                preset=self.preset,
                clock=CLOCKS[self.device](),
                journal=self.journal,
                progress=self.progress,
            )
        tokens = len(self.inputs.batch(input_name, 0).hidden_states)
        return Group(scenario, subjects, blocks, tokens, calls_per_round)

    def _subject(self, scenario_name: str, input_name: str, name: str) -> Subject:
        return make_subject(name, SCENARIOS[scenario_name], self.inputs, input_name, lambda: self.experts(input_name))

    def _experts(self, input_name: str) -> torch.nn.Module:
        """One bank for all routers of an input: they are timed on the same weights in the same memory."""
        return next(iter(make_experts(self.inputs, input_name, 0, KINDS[:1]).banks.values()))

    def _observations(self, input_name: str) -> dict[str, list[Observation] | Exception]:
        """Every planned router on every seed of an input; a seed's routers share its batch and its experts."""
        names = sorted(
            {name for (_, planned), group in self.planned.items() if planned == input_name for name in group}
        )
        found: dict[str, list[Observation] | Exception] = {name: [] for name in names}
        seeds = self.preset.seeds
        # Nothing is timed here, so all cores may work.
        with threads(os.cpu_count() or 1), self.progress(f"behaviour | {input_name}", seeds * len(names)) as bar:
            for seed in range(seeds):
                key = f"behaviour | {input_name} | seed {seed}"
                kept = self.journal.get(key)
                if kept is None:
                    kept = self._observe(input_name, seed, found, bar)
                    self.journal.append(key, kept)
                else:
                    bar.update(len(names))
                for name, observation in kept.items():
                    earlier = found[name]
                    if isinstance(earlier, list):
                        earlier.append(Observation(**observation))
        for name, observations in found.items():
            if isinstance(observations, list) and len(observations) < seeds:
                found[name] = RuntimeError(f"{name} failed on this input in the run that was resumed")
        return found

    def _observe(
        self, input_name: str, seed: int, found: dict[str, list[Observation] | Exception], bar: Bar
    ) -> dict[str, dict[str, Any]]:
        """One seed of an input. A router that fails takes its error in `found` and is left out."""
        batch = self.inputs.batch(input_name, seed)
        experts = make_experts(self.inputs, input_name, seed)
        observed = {}
        for name in found:
            try:
                router = draw_router(name, self.inputs, batch.hidden_states.shape[1], seed)
                observed[name] = asdict(observe(router, batch, experts, self.preset.output_tokens, figures=seed == 0))
            except Exception as error:  # as in `_subject`: a user's router may fail in any way
                found[name] = error
            bar.update()
        return observed
