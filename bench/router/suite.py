"""The suite of a run that measures routers alone, in a layer, and in training, and how they behave.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench.case import Case
from bench.router.behaviour import Observation, combine, observe
from bench.router.calls import SEED, store_input
from bench.router.checked import BASELINE, TWIN, CheckedRouter, backend, check, count, draw_router
from bench.router.experts import KINDS, ExpertBanks, intermediate_size, make_experts
from bench.router.inputs import INPUTS, Inputs, input_kind
from bench.router.precision import observe_precision, records
from bench.router.scenarios import get_router_scenario
from bench.scenario import list_scenarios
from bench.sizes import SEPARATOR
from bench.suite import Suite, describe_text
from bench.timing.context import MeasurementContext
from bench.timing.group import GroupSpec
from bench.timing.interleave import threads
from harness.progress import Bar
from routers.metric import METRICS
from routers.parameters import count_parameters
from routers.registry import class_path

FEW, MINIMUM = 6, 3
"""An input that is compared in behaviour has so many times fewer rounds, but not less than the minimum."""
ORDINARY_WORK = 2048 * 768 * (64 + 8)
"""Of a call that has the preset's rounds; one with more work has fewer, so that a block has a bounded time. Work is
T·D·(64 + E) of the tokens that a call handles, where 64 stands for what a router does beside the product with its
experts, and 2·T·K·D·I where a call goes through those."""


class RouterSuite(Suite[CheckedRouter]):
    """The suite of routers by themselves.

    Args:
        inputs: where batches come from, and the preset with them.
        context: what to measure with.
    """

    subject, baseline, twin = "router", BASELINE, TWIN

    def __init__(self, inputs: Inputs, context: MeasurementContext) -> None:
        super().__init__(inputs.preset, context)
        self.inputs = inputs
        self._observed: dict[str, dict[str, list[Observation] | Exception]] = {}
        self._compared: dict[tuple[str, str], CheckedRouter] = {}
        self._experts: dict[str, torch.nn.Module] = {}

    def spec(self, scenario_name: str, input_name: str, routers: Sequence[str]) -> GroupSpec:
        """The preset's rounds, on the seed that is timed."""
        scenario, preset = get_router_scenario(scenario_name), self.preset
        timed, hidden_states = input_kind(input_name).timed, self.inputs.batch(input_name, SEED).hidden_states
        tokens, hidden_size = hidden_states.shape
        at, handled = self.inputs.at(input_name).preset, scenario.tokens(tokens)
        behind = 2 * at.top_k * intermediate_size(self.inputs, input_name) if scenario.with_experts else 0
        work = handled * hidden_size * (64 + at.num_experts + behind)
        rounds = preset.rounds if timed else max(preset.rounds // FEW, MINIMUM)
        rounds = min(rounds, max(rounds * ORDINARY_WORK // work, MINIMUM))
        return GroupSpec(
            key=f"{scenario_name} | {input_name}",
            scenario=scenario_name,
            input=input_name,
            routers=tuple(routers),
            baseline=BASELINE,
            twin=TWIN,
            gradients=scenario.gradients,
            tokens=handled,
            warmup=min(preset.warmup, rounds) if timed else 1,
            repetitions=preset.repetitions,
            rounds=rounds,
            floors=tuple(name for name in routers if name != TWIN) if scenario.with_floor and timed else (),
        )

    def check(self, case: Case) -> CheckedRouter:
        """Compare the router with the reference, once an input, and count what the scenario's call does."""
        key = case.router, case.input
        if key not in self._compared:
            self._compared[key] = check(case.router, self.inputs, case.input)
        scenario, compared = get_router_scenario(case.scenario), self._compared[key]
        return count(compared, scenario, self.inputs, case.input, lambda: self._timed_experts(case.input))

    def resolved(self) -> dict[str, str]:
        """The encoder and the texts of the planned inputs."""
        used = [input_kind(name) for name in {input_name for _, input_name in self.planned}]
        found = {f"text {name}": self.inputs.text(name).sha256 for name in {kind.text for kind in used if kind.text}}
        if any(kind.pretrained for kind in used):
            found["encoder"] = self.inputs.encoder.asset.identity()
        return found

    def store(self, folder: Path) -> dict[str, Any] | None:
        """The batches that are timed, and the experts that a scenario has asked for."""
        for name in sorted({input_name for _, input_name in self.planned}):
            hidden_states = self.inputs.batch(name, SEED).hidden_states
            store_input(folder, name, hidden_states, self._experts.pop(name, None))
        return None

    def describe(self, case: Case, checked: CheckedRouter) -> dict[str, Any]:
        """Sizes and behaviour; raises what was wrong with the router where its behaviour was observed."""
        batch, router, preset = self.inputs.batch(case.input, SEED), checked.router, self.inputs.at(case.input).preset
        assert router is not None
        observations = self.observations(case.input)[case.router]
        if isinstance(observations, Exception):
            raise observations
        info = {
            "input": case.input,
            "num_tokens": len(batch.hidden_states),
            "batch_size": batch.batch_size,
            "sequence_length": batch.sequence_length,
            "hidden_size": router.hidden_size,
            "intermediate_size": intermediate_size(self.inputs, case.input),
            "num_experts": router.num_experts,
            "top_k": preset.top_k,
            "experts_per_token": router.top_k,
            "selection": None if router.selects_by_itself else preset.selection,
            "dtype": preset.dtype,
            "parameters": count_parameters(router, trainable=True),
            "behaviour": combine(observations),
        }
        shown = observations[0].figures if case.scenario == "router" else {}
        figures = {"figures": shown} if shown else {}
        with torch.set_grad_enabled(get_router_scenario(case.scenario).gradients):
            computed_with = backend(router, batch.hidden_states)
        return info | computed_with | figures

    def label(self, case: Case) -> str:
        """The benchmark's group, for pytest-benchmark's tables."""
        tokens, hidden_size = self.inputs.batch(case.input, SEED).hidden_states.shape
        preset = self.inputs.at(case.input).preset
        sizes = f"T={tokens} D={hidden_size} E={preset.num_experts} K={preset.top_k}"
        beside = [text for text in (preset.selection, preset.dtype) if text not in ("softmax", "float32")]
        return " ".join([f"{case.scenario} | {case.input} | {sizes}", *beside])

    def summary(self) -> dict[str, Any]:
        """What the JSON's `study` says of the routers, the encoder and the texts, and of what was measured."""
        planned = dict.fromkeys(name for _, name in self.planned)
        used = {name: kind for kind in INPUTS.values() for name in planned if input_kind(name) is kind}
        scenarios = {scenario for scenario, _ in self.planned}
        model = None
        if any(kind.pretrained for kind in used.values()):
            encoder = self.inputs.encoder
            model = asdict(encoder.asset) | {"hidden_size": encoder.hidden_size}
            del model["path"]
        texts = sorted({kind.text for kind in used.values() if kind.text})
        return {
            "routers": {
                case.router: {"class": class_path(type(checked.router))}
                for case, checked in self._checked.items()
                if checked.router is not None and case.router != TWIN
            },
            "model": model,
            "texts": {name: describe_text(self.inputs.text(name)) for name in texts},
            "metrics": {name: metric.as_dict() for name, metric in METRICS.items()},
            **records(),
            "scenarios": {
                name: scenario.as_dict() for name, scenario in list_scenarios(self.subject).items() if name in scenarios
            },
            "inputs": {
                name: {
                    "label": name,
                    "description": self.inputs.describe(name),
                    "timed": kind.timed,
                    "text": kind.text,
                    "sizes": name.partition(SEPARATOR)[2] or None,
                }
                for name, kind in used.items()
            },
        }

    def observations(self, input_name: str) -> dict[str, list[Observation] | Exception]:
        """Every planned router on every seed of an input, observed the first time."""
        if input_name not in self._observed:
            self._observed[input_name] = self._observe_seeds(input_name)
        return self._observed[input_name]

    def _timed_experts(self, input_name: str) -> torch.nn.Module:
        """One bank for all routers of an input: they are timed on the same weights in the same memory."""
        if input_name not in self._experts:
            banks = make_experts(self.inputs, input_name, SEED, KINDS[:1]).banks
            self._experts[input_name] = next(iter(banks.values()))
        return self._experts[input_name]

    def _observe_seeds(self, input_name: str) -> dict[str, list[Observation] | Exception]:
        """Every planned router on every seed; a seed's routers share its batch and its experts."""
        names = sorted(
            {name for (_, planned), group in self.planned.items() if planned == input_name for name in group}
        )
        found: dict[str, list[Observation] | Exception] = {name: [] for name in names}
        seeds = self.preset.seeds
        # Nothing is timed here, so all cores may work.
        with (
            threads(os.cpu_count() or 1),
            self.context.progress(f"behaviour | {input_name}", seeds * len(names)) as bar,
        ):
            for seed in range(seeds):
                key = f"behaviour | {input_name} | seed {seed}"
                kept = self.context.journal.get(key)
                if kept is None:
                    kept = self._observe(input_name, seed, found, bar)
                    self.context.journal.append(key, kept)
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
        # At asked sizes decisions are compared and no layer's output: a bank of experts may not fit into memory.
        at_sizes = SEPARATOR in input_name
        experts = ExpertBanks({}, None) if at_sizes else make_experts(self.inputs, input_name, seed)
        # A router that is asked for in another precision has nothing that it could be compared with.
        compared = self.preset.precision_everywhere or input_kind(input_name).precision
        in_precisions = compared and batch.hidden_states.dtype is torch.float32
        observed = {}
        for name in found:
            try:
                router = draw_router(name, self.inputs.at(input_name), batch.hidden_states.shape[1], seed)
                observed[name] = asdict(
                    observe(router, batch, experts, self.preset.output_tokens, figures=seed == 0 and not at_sizes)
                )
                if in_precisions:
                    observed[name]["precision"] = observe_precision(router, batch.hidden_states, seed)
            except Exception as error:  # as in `prepare_router`: a user's router may fail in any way
                found[name] = error
            bar.update()
        return observed
