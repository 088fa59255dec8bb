"""One run of `pytest bench`: its suites, which measure, and the JSON's summary of all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from safetensors import SafetensorError

from bench.case import Case
from bench.presets import Preset
from bench.repetition.measure import Repetitions
from bench.repetition.plan import Plan, router_sources
from bench.repetition.process import Measures
from bench.scenario import list_scenarios
from bench.suite import Suite
from bench.timing.context import MeasurementContext
from bench.timing.group import GroupSpec
from bench.timing.interleave import threads
from bench.timing.memory import TemporaryFolderError
from routers import list_routers

StartIn = Callable[[Plan, Path], AbstractContextManager[Measures]]
"""Starts what measures a repetition, from a plan and the folder that it and the inputs are in."""

SCHEMA = 3
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

    def measure(self, start: StartIn) -> None:
        """Check every planned router, then time those that are right, one process a repetition.

        Raises:
            AssetError: a model or a text that cannot be had, or a full folder for temporary files.
            JournalError: the journal cannot be written.
            ProcessDiedError: no process can begin.
        """
        suites = list(dict.fromkeys(self._suites.values()))
        context = self.context
        # Nothing is timed here, so all cores may work.
        with (
            context.progress("checking the routers", sum(suite.size for suite in suites)) as bar,
            threads(os.cpu_count() or 1),
        ):
            specs = {suite: suite.specs(bar) for suite in suites}
        context.journal.expect({name: sha for suite in suites for name, sha in suite.resolved().items()})
        groups = [spec for of_suite in specs.values() for spec in of_suite]
        try:
            with TemporaryDirectory(prefix="moe-router-bench-", ignore_cleanup_errors=True) as folder:
                plan = self._plan(groups, Path(folder), suites)
                plan.write(Path(folder))
                repetitions = Repetitions(groups, context.journal, context.progress, partial(start, plan, Path(folder)))
                repetitions.measure()
        except (OSError, SafetensorError) as error:
            raise TemporaryFolderError(
                f"{gettempdir()}: takes no inputs of a run, or no process can be started ({error}); TMPDIR names "
                "another folder for temporary files"
            ) from None
        context.note_peaks(repetitions.peaks)
        for suite, of_suite in specs.items():
            for spec in of_suite:
                suite.take(spec, repetitions.blocks[spec.key])

    def _plan(self, groups: Sequence[GroupSpec], folder: Path, suites: Sequence[Suite[Any]]) -> Plan:
        stored = {suite.subject: suite.store(folder) for suite in suites}
        routers = {name for spec in groups for name in spec.routers if name in list_routers()}
        return Plan(
            preset=self.preset,
            device=self.context.device,
            threads=self.context.num_threads,
            clock=self.context.clock.name,
            l2=self.context.clock.l2,
            routers=router_sources(sorted(routers)),
            language_model=stored.get("language_model"),
            groups=tuple(groups),
        )

    def summary(self) -> dict[str, Any]:
        """The JSON's `study`: what holds for the whole run."""
        suites = list(dict.fromkeys(self._suites.values()))
        expected = sum(suite.expected for suite in suites)
        summary = {"schema": SCHEMA, "preset": self.preset.as_dict(), "planned": expected} | self.context.summary()
        shared: dict[str, dict[str, Any]] = {name: {} for name in _SHARED}
        for suite in suites:
            said = suite.summary()
            for name, entries in shared.items():
                entries |= said.pop(name)
            summary |= said
        return summary | shared | {name: dict(sorted(shared[name].items())) for name in ("routers", "texts")}
