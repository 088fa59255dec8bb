"""One run: which groups are measured, in what order, and what each benchmark reports.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cache, cached_property, lru_cache
from statistics import median
from typing import Any, Protocol

import torch

from bench.behaviour import Observation, combine, observe
from bench.clocks import CLOCKS
from bench.experts import KINDS, intermediate_size, make_experts
from bench.inputs import INPUTS, PROSE, SHAKESPEARE, Inputs
from bench.intervals import paired_ratio
from bench.journal import Journal
from bench.measure import Call, measure_block, peak_gflops, threads
from bench.presets import Preset
from bench.scenarios import SCENARIOS, count_flops
from bench.seeds import derive_seed
from routers import Router, create_router
from routers.reference import check_router

SCHEMA = 1
BASELINE = "linear"
TWIN = "linear@again"
"""The baseline a second time, its own object: the two must measure alike, and how far they do is the noise floor."""


class Bar(Protocol):
    """What the study asks of a progress bar; tqdm's is one."""

    def update(self, n: int = 1) -> object:
        """One step done."""


Progress = Callable[[str, int], AbstractContextManager[Bar]]
"""(what, steps) -> a bar."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A router ready to be timed, or the reason why it cannot be."""

    router: Router | None = None
    call: Call | None = None
    flops: int = 0
    error: Exception | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """One scenario on one input: all its routers, measured together.

    Attributes:
        subjects: router name -> subject.
        blocks: router name -> [block][round] nanoseconds, for those that are right.
        tokens: T of the batch.
        hidden_size: D.
    """

    subjects: dict[str, Subject]
    blocks: dict[str, list[list[int]]]
    tokens: int
    batch_size: int
    sequence_length: int
    hidden_size: int


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
        self.group = cache(self._group)
        self.observations = cache(self._observations)
        self.experts = lru_cache(maxsize=1)(self._experts)  # one input's at a time: a bank is large

    def plan(self, scenario: str, input_name: str, router_name: str) -> None:
        """A benchmark will ask for this router: it is measured together with the others of its group."""
        self.planned.setdefault((scenario, input_name), []).append(router_name)

    def durations(self, scenario: str, input_name: str, router_name: str) -> list[int]:
        """All rounds of all blocks, nanoseconds.

        Raises:
            Exception: what was wrong with this router, which then was not timed.
        """
        group = self.group(scenario, input_name)
        error, baseline_error = group.subjects[router_name].error, group.subjects[BASELINE].error
        if error is not None:
            raise error
        if baseline_error is not None:
            raise RuntimeError(
                f"the baseline {BASELINE} failed, so nothing was timed in this group"
            ) from baseline_error
        return [duration for block in group.blocks[router_name] for duration in block]

    def check(self, scenario: str, input_name: str, router_name: str) -> None:
        """Compare a router with the reference and make one call, without timing anything.

        Raises:
            Exception: what is wrong with it.
        """
        with torch.set_grad_enabled(SCENARIOS[scenario].gradients):
            subject = self._subject(scenario, input_name, router_name)
        if subject.error is not None:
            raise subject.error

    def extra_info(self, scenario: str, input_name: str, router_name: str) -> dict[str, Any]:
        """The JSON entry of one benchmark, as README.md beside this file describes it."""
        group = self.group(scenario, input_name)
        router = group.subjects[router_name].router
        assert router is not None
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
            "batch_size": group.batch_size,
            "sequence_length": group.sequence_length,
            "hidden_size": group.hidden_size,
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
            "timing": self._timing(scenario, input_name, router_name),
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
            "load": {"before": list(self.load_before), "after": list(os.getloadavg())},
            "noise": {"groups": len(self.noise_floors), "worst": worst},
        }

    @cached_property
    def peak(self) -> float:
        """10⁹ FLOP/s of a large matrix product, measured once."""
        with threads(self.num_threads):
            return peak_gflops(self.device, CLOCKS[self.device]())

    def _group(self, scenario_name: str, input_name: str) -> Group:
        scenario, preset = SCENARIOS[scenario_name], self.preset
        key = f"{scenario_name} | {input_name}"
        batch = self.inputs.batch(input_name, 0)
        names = [BASELINE, TWIN, *(name for name in self.planned[scenario_name, input_name] if name != BASELINE)]
        with threads(self.num_threads), torch.set_grad_enabled(scenario.gradients):
            subjects = {name: self._subject(scenario_name, input_name, name) for name in names}
            calls = {name: subject.call for name, subject in subjects.items() if subject.call is not None}
            blocks: dict[str, list[list[int]]] = {name: [] for name in calls}
            if BASELINE in calls:
                clock = CLOCKS[self.device]()
                rounds = preset.warmup + preset.repetitions * preset.rounds
                with self.progress(key, rounds) as bar:
                    measure_block(calls, clock, rounds=preset.warmup, seed=key, tick=bar.update)
                    for index in range(preset.repetitions):
                        block_key = f"{key} | block {index}"
                        block = self.journal.get(block_key)
                        if block is None:
                            block = measure_block(calls, clock, rounds=preset.rounds, seed=block_key, tick=bar.update)
                            self.journal.append(block_key, block)
                        else:
                            bar.update(preset.rounds)
                        for name, durations in block.items():
                            blocks[name].append(durations)
        tokens, hidden_size = batch.hidden_states.shape
        return Group(subjects, blocks, tokens, batch.batch_size, batch.sequence_length, hidden_size)

    def _subject(self, scenario_name: str, input_name: str, name: str) -> Subject:
        scenario = SCENARIOS[scenario_name]
        hidden_states = self.inputs.batch(input_name, 0).hidden_states
        try:
            router = self._router(BASELINE if name == TWIN else name, hidden_states.shape[1], seed=0)
            check_router(router, hidden_states)
            call = scenario.prepare(router, hidden_states, self.experts(input_name))
            return Subject(router, call, count_flops(call))
        except Exception as error:  # a router of a user's may fail in any way; its benchmark reports it, others go on
            return Subject(error=error)

    def _router(self, name: str, hidden_size: int, seed: int) -> Router:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("router", seed))
            sizes = {"num_experts": self.preset.num_experts, "top_k": self.preset.top_k}
            return create_router(name, hidden_size=hidden_size, **sizes).to(self.device).eval()

    def _experts(self, input_name: str) -> torch.nn.Module:
        """One bank for all routers of an input: they are timed on the same weights in the same memory."""
        return next(iter(make_experts(self.inputs, input_name, 0, KINDS[:1]).banks.values()))

    def _timing(self, scenario: str, input_name: str, router_name: str) -> dict[str, Any]:
        group, preset = self.group(scenario, input_name), self.preset
        blocks, baseline = group.blocks[router_name], group.blocks[BASELINE]
        floor = paired_ratio(group.blocks[TWIN], baseline)
        self.noise_floors[scenario, input_name] = floor.estimate
        medians_us = [median(block) / 1e3 for block in blocks]
        us_per_call = median(medians_us)
        return {
            "clock": "replayed: interleaved measurement, read back by pytest-benchmark",
            "repetitions": preset.repetitions,
            "rounds": preset.rounds,
            "us_per_call": us_per_call,
            "ns_per_token": us_per_call * 1e3 / SCENARIOS[scenario].tokens(group.tokens),
            "block_median_us": medians_us,
            "baseline": BASELINE,
            "ratio": paired_ratio(blocks, baseline).as_dict(),
            "noise_floor": floor.as_dict(),
            "gflops": group.subjects[router_name].flops / us_per_call / 1e3,
            "peak_gflops": self.peak,
        }

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
                router = self._router(name, batch.hidden_states.shape[1], seed)
                observed[name] = asdict(observe(router, batch, experts, self.preset.output_tokens, figures=seed == 0))
            except Exception as error:  # as in `_subject`: a user's router may fail in any way
                found[name] = error
            bar.update()
        return observed
