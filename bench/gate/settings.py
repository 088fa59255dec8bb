"""What the user asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bench.gate.verdicts.evidence import Rules
from bench.gate.verdicts.sampling import SamplingPlan
from bench.presets import Preset


@dataclass(frozen=True)
class GateSettings:
    """The options of a gate.

    Attributes:
        preset: sizes and cycles: its `rounds` in the first look, `repetitions` times as many in each later round.
        select: a `-k` expression, or None for all benchmarks.
        rules: thresholds.
        budget_s: for all of it, in seconds.
        limit_s: how long a worker may take for one answer, in seconds.
        threads: torch's, while something is timed.
        routers: further ones, as `--router` takes them.
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

    @property
    def plan(self) -> SamplingPlan:
        """Cycles and time."""
        return SamplingPlan(self.preset.rounds, self.preset.rounds * self.preset.repetitions, self.budget_s)

    def worker_options(self) -> list[str]:
        """For `python -m bench.gate.worker`."""
        options = ["--preset", self.preset.name, "--threads", str(self.threads)]
        options += ["--select", self.select] if self.select else []
        options += [word for router in self.routers for word in ("--router", router)]
        return options + [word for model in self.models for word in ("--model", model)]

    def as_dict(self) -> dict[str, Any]:
        """For the JSON, and for the journal's configuration."""
        return {
            "preset": asdict(self.preset) | {"models": list(self.models or self.preset.models)},
            "select": self.select,
            "device": "cpu",
            "threads": self.threads,
            "threshold": self.rules.threshold,
            "margin": self.rules.margin,
            "floor_multiple": self.rules.floor_multiple,
            "budget_s": self.budget_s,
        }
