"""One run: its parts, which measure, and the JSON's summary of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.case import Case, Part
from bench.presets import Preset
from bench.timing.context import Rig

SCHEMA = 1


class Study:
    """The parts of a run, each for its own scenarios, on one rig.

    Args:
        preset: sizes and amounts.
        rig: what all parts measure with.
        parts: no two of them with a scenario of the same name.
    """

    def __init__(self, preset: Preset, rig: Rig, parts: Sequence[Part]) -> None:
        self.preset = preset
        self.rig = rig
        self._parts = {scenario: part for part in parts for scenario in part.scenarios}

    def part(self, case: Case) -> Part:
        """Who measures it."""
        return self._parts[case.scenario]

    def plan(self, case: Case) -> None:
        """A benchmark will ask for this: it is measured together with the others of its group."""
        self.part(case).plan(case)

    def summary(self) -> dict[str, Any]:
        """The JSON's `study`: what holds for the whole run."""
        summary = {"schema": SCHEMA, "preset": asdict(self.preset), "routers": {}, "texts": {}} | self.rig.summary()
        for part in dict.fromkeys(self._parts.values()):
            said = part.summary()
            for shared in ("routers", "texts"):
                summary[shared] = dict(sorted((summary[shared] | said.pop(shared)).items()))
            summary |= said
        return summary
