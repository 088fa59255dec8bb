"""One repetition: every group's calls made ready in this process, and a block of each measured."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from bench.case import Case
from bench.language_model.calls import LanguageModelCalls
from bench.peers.calls import PeerCalls
from bench.repetition.plan import Plan
from bench.router.calls import RouterCalls
from bench.router.inputs import Inputs
from bench.scenario import list_scenarios
from bench.timing.group import FLOOR, Block, GroupSpec, PreparedCall, floor_of
from bench.timing.interleave import CallError, balanced_calls, measure_block, one_line, peak_gflops, threads
from bench.timing.memory import peak_memory
from bench.timing.modes import ClockMode
from bench.timing.placement import padding
from harness.assets.errors import AssetError

Tick = Callable[[], object]


class Calls(Protocol):
    """Makes the calls of a subject ready."""

    def ready(self, case: Case) -> PreparedCall:
        """A call to time; it may raise whatever a router raises."""


class Repetition:
    """What a fresh process measures with.

    Args:
        plan: of the run.
        folder: where the run has stored the inputs.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        mode = ClockMode.parse(plan.clock, plan.l2, device=plan.device)
        self._clock, self._flush = mode.clock(), mode.flush()
        # The system's own random numbers: two runs must not share their layouts.
        self._generator = random.SystemRandom()
        self._calls: dict[str, Calls] = {"router": RouterCalls(Inputs(plan.preset, plan.device), folder, mode.ways)}
        self._calls["peer"] = PeerCalls(plan.preset, plan.device, mode.ways)
        if plan.language_model is not None:
            self._calls["language_model"] = LanguageModelCalls(plan.preset, device=plan.device, **plan.language_model)
        self._subjects = {scenario: subject for subject in self._calls for scenario in list_scenarios(subject)}

    def measure(self, spec: GroupSpec, calls_per_round: Mapping[str, int] | None, index: int, tick: Tick) -> Block:
        """Measure a block; a router that fails is left out, and the block measured again without it.

        Args:
            spec: the group.
            calls_per_round: as the run's first process has found it, or None in that.
            index: of the repetition: each has its own order of calls.
            tick: called after every round.
        """
        failed: dict[str, str] = {}
        with threads(self._plan.threads), torch.set_grad_enabled(spec.gradients):
            ready = self._ready(spec, failed)
            while spec.baseline in ready and spec.twin in ready:
                try:
                    block = self._measure(spec, ready, calls_per_round, index, tick, failed)
                    return replace(block, peak_memory=self._peaks(ready)) if spec.memory and index == 0 else block
                except CallError as error:
                    failed[error.name] = error.said
                    del ready[error.name]
        return Block({}, {}, failed)

    def peak(self) -> float:
        """10⁹ FLOP/s of large matrix products, now."""
        with threads(self._plan.threads):
            return peak_gflops(self._plan.device, self._clock)

    def _peaks(self, ready: Mapping[str, PreparedCall]) -> dict[str, int | None]:
        """What a call of each needs; raises `CallError`."""
        peaks = {}
        for name, prepared in ready.items():
            try:
                peaks[name] = peak_memory(prepared.call, self._plan.device)
                if prepared.reset:
                    prepared.reset()
            except AssetError:
                raise
            except Exception as error:
                raise CallError(name, error) from error
        return peaks

    def _ready(self, spec: GroupSpec, failed: dict[str, str]) -> dict[str, PreparedCall]:
        """The calls of a group, made in random order with random space between them."""
        calls, self._padding = self._calls[self._subjects[spec.scenario]], []
        ready, subjects = {}, (*spec.routers, *map(floor_of, spec.floors))
        for name in self._generator.sample(subjects, len(subjects)):
            self._padding += padding(self._generator)
            try:
                self._plan.register(name.removesuffix(FLOOR))
                ready[name] = calls.ready(spec.case(name))
            except Exception as error:  # a router of a user's may fail in any way; the others go on
                failed[name] = one_line(error)
        return {name: ready[name] for name in subjects if name in ready}

    def _measure(
        self,
        spec: GroupSpec,
        ready: Mapping[str, PreparedCall],
        calls_per_round: Mapping[str, int] | None,
        index: int,
        tick: Tick,
        failed: dict[str, str],
    ) -> Block:
        calls = {name: prepared.call for name, prepared in ready.items()}
        resets = {name: prepared.reset for name, prepared in ready.items() if prepared.reset is not None}
        around: dict[str, Any] = {"resets": resets, "before": self._flush, "tick": tick}
        warm_up = measure_block(calls, self._clock, rounds=spec.warmup, seed=spec.key, **around)
        times = dict(calls_per_round or balanced_calls(warm_up))
        durations = measure_block(
            calls,
            self._clock,
            rounds=spec.rounds,
            seed=f"{spec.key} | block {index}",
            calls_per_round=times,
            **around,
        )
        setup = {name: asdict(prepared.setup) for name, prepared in ready.items() if prepared.setup is not None}
        return Block(durations, {name: times.get(name, 1) for name in durations}, failed, setup=setup)
