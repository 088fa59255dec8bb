"""The settings of a gate run: the rules of its verdicts, how much it samples, and the options of its workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.presets import Preset

MANY_BENCHMARKS = 25
"""From so many benchmarks on, the first look takes no more than the least cycles."""


@dataclass(frozen=True)
class Rules:
    """The thresholds that turn a ratio into a verdict.

    Attributes:
        threshold: a difference has to be proved larger than this, as a share (0.02 is 2 %).
        margin: two are the same when they are proved to be less than this apart.
        floor_multiple: a difference has to be larger than so many noise floors, too.
        confirmations: how many pairs of further fresh processes a difference has to be proved in.
        overruling: how many of them it takes against a first look that leans the other way; all pairs have to prove the
            difference then.
        far: a first look that proves head slower by more than this fails it even where nothing confirms that in time.
    """

    threshold: float = 0.02
    margin: float = 0.05
    floor_multiple: float = 2.0
    confirmations: int = 3
    overruling: int = 12
    far: float = 0.5


@dataclass(frozen=True)
class SamplingPlan:
    """How much is measured.

    Attributes:
        cycles: of a benchmark in the first look, where there are many; in each, every process is visited once.
        most_cycles: in each round after it, and in the first look where there are few benchmarks.
        budget_s: no round begins that would not end within so many seconds from the start.
        rules: what settles a benchmark's verdict.
    """

    cycles: int
    most_cycles: int
    budget_s: float
    rules: Rules = field(default_factory=Rules)

    def first_cycles(self, benchmarks: int) -> int:
        """Cycles of every benchmark in a first look at so many: starting processes takes as long as some hundred."""
        return min(self.most_cycles, max(self.cycles, self.cycles * MANY_BENCHMARKS // benchmarks))


@dataclass(frozen=True)
class GateSettings:
    """What the user asked of a gate run.

    Attributes:
        preset: sizes and cycles: its `rounds` in the first look, `repetitions` times as many in each later round.
        select: a `-k` expression, or None for all benchmarks.
        rules: thresholds.
        budget_s: for the whole run, in seconds.
        limit_s: how long a worker may take for one answer, in seconds.
        threads: torch's, while something is timed.
        device: "cpu" or "cuda"; there, processes of the revisions take turns on one card.
        routers: additional routers, as `--router` takes them.
        models: replaces the preset's.
    """

    preset: Preset
    select: str | None
    rules: Rules
    budget_s: float
    limit_s: float
    threads: int
    routers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    device: str = "cpu"

    @property
    def plan(self) -> SamplingPlan:
        """How much a run with these settings measures."""
        rounds, repetitions = self.preset.rounds, self.preset.repetitions
        return SamplingPlan(rounds, rounds * repetitions, self.budget_s, self.rules)

    def worker_options(self) -> list[str]:
        """The command line of `python -m bench.gate.worker`."""
        options = ["--preset", self.preset.name, "--threads", str(self.threads)]
        # Said where it is not the only one that a worker knew before it was asked for a device.
        options += ["--device", self.device] if self.device != "cpu" else []
        options += ["--select", self.select] if self.select else []
        options += [word for router in self.routers for word in ("--router", router)]
        return options + [word for model in self.models for word in ("--model", model)]

    def as_dict(self) -> dict[str, Any]:
        """The settings as the JSON and the journal's configuration state them."""
        return {
            "preset": self.preset.as_dict() | {"models": list(self.models or self.preset.models)},
            "select": self.select,
            "device": self.device,
            "threads": self.threads,
            "threshold": self.rules.threshold,
            "margin": self.rules.margin,
            "floor_multiple": self.rules.floor_multiple,
            "budget_s": self.budget_s,
        }
