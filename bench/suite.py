"""The benchmarks of one subject in a run: what is the same for routers by themselves and inside a language model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from bench.case import Case
from bench.presets import Preset
from bench.timing.context import MeasurementContext
from bench.timing.group import Group, GroupSpec, TimedCall
from harness.text.texts import TextAsset

AnyPrepared = TypeVar("AnyPrepared", bound=TimedCall)


class Suite(ABC, Generic[AnyPrepared]):
    """Measures the scenarios of one subject on demand, and remembers.

    Args:
        preset: sizes and amounts.
        context: what to measure with.
    """

    subject: ClassVar[str]
    """Whose scenarios it measures: `Scenario.subject`."""
    baseline: ClassVar[str]
    """The router that the others of a group are compared with; it is measured whether or not it was selected."""
    twin: ClassVar[str]
    """The baseline a second time: see `GroupSpec`."""

    def __init__(self, preset: Preset, context: MeasurementContext) -> None:
        self.preset = preset
        self.context = context
        self.planned: dict[tuple[str, str], list[str]] = {}
        self._groups: dict[tuple[str, str], Group[AnyPrepared]] = {}

    def plan(self, case: Case) -> None:
        """Note that a benchmark will ask for a case: it is measured together with the others of its group."""
        self.planned.setdefault((case.scenario, case.input), []).append(case.router)

    def check(self, case: Case) -> None:
        """See whether the router is right and make one call, without timing anything.

        Raises:
            Exception: what is wrong with it.
        """
        prepared = self.prepare(case)
        if prepared.error is not None:
            raise prepared.error

    def durations(self, case: Case) -> list[int]:
        """All rounds of a case, nanoseconds; raises what was wrong with the router, if it was not timed."""
        return self.group(case.scenario, case.input).durations(case.router)

    def group(self, scenario_name: str, input_name: str = "") -> Group[AnyPrepared]:
        """All planned routers of a scenario on an input, measured together the first time."""
        key = scenario_name, input_name
        if key not in self._groups:
            names = [self.baseline, self.twin, *(name for name in self.planned[key] if name != self.baseline)]
            self._groups[key] = self.context.measure(
                self.spec(scenario_name, input_name),
                lambda: {name: self.prepare(Case(scenario_name, name, input_name)) for name in names},
            )
        return self._groups[key]

    def extra_info(self, case: Case) -> dict[str, Any]:
        """The JSON entry of one benchmark, as docs/json.md describes it."""
        group = self.group(case.scenario, case.input)
        prepared = group.calls[case.router]
        return {
            "scenario": case.scenario,
            "router": case.router,
            **self.describe(case, prepared),
            "device": self.context.device,
            "threads": self.context.num_threads,
            "preset": self.preset.name,
            "flops": prepared.flops,
            "peak_memory": prepared.peak_memory,
            "timing": group.timing(case.router, self.context.peak),
        }

    @abstractmethod
    def spec(self, scenario_name: str, input_name: str) -> GroupSpec:
        """What is measured for a scenario on an input, and how much of it."""

    @abstractmethod
    def prepare(self, case: Case) -> AnyPrepared:
        """Check the router and prepare its call, or say what is wrong with it."""

    @abstractmethod
    def describe(self, case: Case, prepared: AnyPrepared) -> dict[str, Any]:
        """The subject's own part of the JSON entry of one benchmark."""

    @abstractmethod
    def label(self, case: Case) -> str:
        """The group of a case, for pytest-benchmark's tables."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """Its part of the JSON's `study`: what holds for all its benchmarks."""


def describe_text(text: TextAsset) -> dict[str, Any]:
    """A text's record in the JSON."""
    return {"source": text.source, "sha256": text.sha256, "characters": len(text.text)}
