"""One run of `pytest bench`: its suites, which measure, and the JSON's summary of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.case import Case
from bench.presets import Preset
from bench.scenario import list_scenarios
from bench.suite import Suite
from bench.timing.context import MeasurementContext

SCHEMA = 2
_SHARED = ("routers", "texts", "scenarios")
"""What several suites say of the run, put together."""


class Run:
    """The suites of a run, one for each subject, on one measurement context.

    Args:
        preset: sizes and amounts.
        context: what all suites measure with.
        suites: no two of one subject.
    """

    def __init__(self, preset: Preset, context: MeasurementContext, suites: Sequence[Suite[Any]]) -> None:
        self.preset = preset
        self.context = context
        self._suites = {scenario: suite for suite in suites for scenario in list_scenarios(suite.subject)}

    def suite(self, case: Case) -> Suite[Any]:
        """The suite that measures a case."""
        return self._suites[case.scenario]

    def summary(self) -> dict[str, Any]:
        """The JSON's `study`: what holds for the whole run."""
        summary = {"schema": SCHEMA, "preset": asdict(self.preset)} | self.context.summary()
        shared: dict[str, dict[str, Any]] = {name: {} for name in _SHARED}
        for suite in dict.fromkeys(self._suites.values()):
            said = suite.summary()
            for name, entries in shared.items():
                entries |= said.pop(name)
            summary |= said
        return summary | shared | {name: dict(sorted(shared[name].items())) for name in ("routers", "texts")}
