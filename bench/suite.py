"""The benchmarks of one subject in a run: what is the same for routers by themselves and inside a language model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic

from bench.case import Case
from bench.presets import Preset
from bench.timing.context import MeasurementContext
from bench.timing.group import AnyChecked, Block, CannotRunError, Group, GroupSpec
from harness.progress import Bar
from harness.text.texts import TextAsset


class Suite(ABC, Generic[AnyChecked]):
    """The scenarios of one subject: what is planned of them, checked before it is timed, and said of it afterwards.

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
        self._checked: dict[Case, AnyChecked] = {}
        self._groups: dict[tuple[str, str], Group[AnyChecked]] = {}

    def plan(self, case: Case) -> None:
        """Note that a benchmark will ask for a case: it is measured together with the others of its group."""
        self.planned.setdefault((case.scenario, case.input), []).append(case.router)

    def cases(self, scenario: str, input_name: str) -> list[Case]:
        """What is planned of a group, with the baseline and its twin before it."""
        names = dict.fromkeys((self.baseline, self.twin, *self.planned[scenario, input_name]))
        return [Case(scenario, name, input_name) for name in names]

    @property
    def size(self) -> int:
        """How many cases there are in all groups."""
        return sum(len(self.cases(*group)) for group in self.planned)

    @property
    def expected(self) -> int:
        """How many of the planned benchmarks there are to be in the JSON: all but those that cannot run here."""
        cases = [Case(scenario, name, given) for (scenario, given), names in self.planned.items() for name in names]
        return sum(not isinstance(self.checked(case).error, CannotRunError) for case in cases)

    def checked(self, case: Case) -> AnyChecked:
        """What is known of a case, found out the first time; never timed."""
        if case not in self._checked:
            self._checked[case] = self.check(case)
        return self._checked[case]

    def expect_sound(self, case: Case) -> None:
        """See whether the router is right, and make one call.

        Raises:
            Exception: what is wrong with it.
        """
        if (error := self.checked(case).error) is not None:
            raise error

    def specs(self, bar: Bar) -> list[GroupSpec]:
        """The groups to time, with those routers that are right; nothing where the baseline is wrong."""
        specs = []
        for group in self.planned:
            sound = []
            for case in self.cases(*group):
                if self.checked(case).error is None:
                    sound.append(case.router)
                bar.update()
            spec = self.spec(*group, sound)
            if self.baseline in sound:
                specs.append(spec)
            else:
                self.take(spec, [])
        return specs

    def take(self, spec: GroupSpec, blocks: list[Block]) -> None:
        """Note what was measured of a group."""
        cases = self.cases(spec.scenario, spec.input)
        group = Group(spec, {case.router: self.checked(case) for case in cases}, blocks)
        self._groups[spec.scenario, spec.input] = self.context.add(group)

    def group(self, case: Case) -> Group[AnyChecked]:
        """The measured group of a case."""
        return self._groups[case.scenario, case.input]

    def durations(self, case: Case) -> list[int]:
        """All rounds of a case, nanoseconds; raises what was wrong with the router, if it was not timed."""
        return self.group(case).durations(case.router)

    def extra_info(self, case: Case) -> dict[str, Any]:
        """The JSON entry of one benchmark, as docs/reference/json.md describes it."""
        checked, group = self.checked(case), self.group(case)
        return {
            "scenario": case.scenario,
            "router": case.router,
            **self.describe(case, checked),
            "device": self.context.device,
            "threads": self.context.num_threads,
            "preset": self.preset.name,
            "flops": checked.flops,
            "peak_memory": group.peak_memory(case.router),
            "timing": group.timing(case.router, self.context.peak)
            | {"clock_mode": self.context.clock.name, "l2": self.context.clock.l2},
        }

    @abstractmethod
    def spec(self, scenario_name: str, input_name: str, routers: Sequence[str]) -> GroupSpec:
        """What is measured for a scenario on an input, and how much of it."""

    @abstractmethod
    def check(self, case: Case) -> AnyChecked:
        """Check the router and count what its call does, or say what is wrong with it."""

    @abstractmethod
    def resolved(self) -> dict[str, str]:
        """The models and texts that were read, each with its checksum."""

    @abstractmethod
    def store(self, folder: Path) -> dict[str, Any] | None:
        """Write what fresh processes load instead of making it, and let it go.

        Returns:
            what else they have to know, JSON values.
        """

    @abstractmethod
    def describe(self, case: Case, checked: AnyChecked) -> dict[str, Any]:  # type: ignore[misc]  # read only
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
