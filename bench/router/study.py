"""The part of a run that measures routers alone, in a layer, and in training, and how they behave.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import cache, lru_cache
from typing import Any

import torch

from bench.case import Case
from bench.router.behaviour import Observation, combine, observe
from bench.router.experts import KINDS, intermediate_size, make_experts
from bench.router.inputs import INPUTS, PROSE, SHAKESPEARE, Inputs
from bench.router.scenarios import SCENARIOS
from bench.router.subjects import BASELINE, TWIN, Subject, backend, draw_router, make_subject
from bench.timing.context import Rig
from bench.timing.group import Bar, Comparison, Group
from bench.timing.interleave import threads

SCHEMA = 1


class RouterStudy:
    """Measures on demand and remembers. A `bench.case.Part`.

    Args:
        inputs: where batches come from, and the preset with them.
        rig: what to measure with.
    """

    scenarios = SCENARIOS

    def __init__(self, inputs: Inputs, rig: Rig) -> None:
        self.inputs = inputs
        self.preset = inputs.preset
        self.rig = rig
        self.planned: dict[tuple[str, str], list[str]] = {}
        self.classes: dict[str, str] = {}
        self.group = cache(self._group)
        self.observations = cache(self._observations)
        self.experts = lru_cache(maxsize=1)(self._experts)  # one input's at a time: a bank is large

    def plan(self, case: Case) -> None:
        """A benchmark will ask for this router: it is measured together with the others of its group."""
        self.planned.setdefault((case.scenario, case.input), []).append(case.router)

    def durations(self, case: Case) -> list[int]:
        """All rounds of a router, nanoseconds; raises what was wrong with it, if it was not timed."""
        return self.group(case.scenario, case.input).durations(case.router)

    def check(self, case: Case) -> None:
        """Compare a router with the reference and make one call, without timing anything.

        Raises:
            Exception: what is wrong with it.
        """
        subject = self._subject(case.scenario, case.input, case.router)
        if subject.error is not None:
            raise subject.error

    def extra_info(self, case: Case) -> dict[str, Any]:
        """The JSON entry of one benchmark, as README.md beside this file describes it."""
        group, batch = self.group(case.scenario, case.input), self.inputs.batch(case.input, 0)
        subject = group.subjects[case.router]
        router = subject.router
        assert router is not None
        self.classes[case.router] = f"{type(router).__module__}.{type(router).__qualname__}"
        observations = self.observations(case.input)[case.router]
        if isinstance(observations, Exception):
            raise observations
        info = {
            "schema": SCHEMA,
            "scenario": case.scenario,
            "router": case.router,
            "input": case.input,
            "input_source": self.inputs.describe(case.input),
            "num_tokens": len(batch.hidden_states),
            "batch_size": batch.batch_size,
            "sequence_length": batch.sequence_length,
            "hidden_size": router.hidden_size,
            "intermediate_size": intermediate_size(self.inputs, case.input),
            "num_experts": router.num_experts,
            "top_k": self.preset.top_k,
            "experts_per_token": router.top_k,
            "dtype": "float32",
            "device": self.rig.device,
            "threads": self.rig.num_threads,
            "preset": self.preset.name,
            "parameters": sum(parameter.numel() for parameter in router.parameters() if parameter.requires_grad),
            "flops": subject.flops,
            "peak_memory": subject.peak_memory,
            "timing": self.rig.timing(group, case.router),
            "behaviour": combine(observations),
        }
        figures = {"figures": observations[0].figures} if case.scenario == "router" else {}
        return info | backend(router) | figures

    def label(self, case: Case) -> str:
        """The benchmark's group, for pytest-benchmark's tables."""
        tokens, hidden_size = self.inputs.batch(case.input, 0).hidden_states.shape
        sizes = f"T={tokens} D={hidden_size} E={self.preset.num_experts} K={self.preset.top_k}"
        return f"{case.scenario} | {case.input} | {sizes}"

    def summary(self) -> dict[str, Any]:
        """What the JSON's `study` says of the routers, the encoder and the texts."""
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
        return {
            "routers": {name: {"class": path} for name, path in self.classes.items()},
            "model": model,
            "texts": texts,
        }

    def _group(self, scenario_name: str, input_name: str) -> Group[Subject]:
        names = [BASELINE, TWIN, *(name for name in self.planned[scenario_name, input_name] if name != BASELINE)]
        scenario = SCENARIOS[scenario_name]
        comparison = Comparison(
            key=f"{scenario_name} | {input_name}",
            baseline=BASELINE,
            twin=TWIN,
            gradients=scenario.gradients,
            tokens=scenario.tokens(len(self.inputs.batch(input_name, 0).hidden_states)),
            warmup=self.preset.warmup,
            repetitions=self.preset.repetitions,
            rounds=self.preset.rounds,
        )
        return self.rig.measure(
            comparison, lambda: {name: self._subject(scenario_name, input_name, name) for name in names}
        )

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
        with threads(os.cpu_count() or 1), self.rig.progress(f"behaviour | {input_name}", seeds * len(names)) as bar:
            for seed in range(seeds):
                key = f"behaviour | {input_name} | seed {seed}"
                kept = self.rig.journal.get(key)
                if kept is None:
                    kept = self._observe(input_name, seed, found, bar)
                    self.rig.journal.append(key, kept)
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
