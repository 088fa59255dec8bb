"""The suite of a run that measures the same work by ours and by others.

Axes: T tokens, D hidden size, I intermediate size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.case import Case
from bench.peers.check import CheckedPeer, check_subjects
from bench.peers.importing import versions
from bench.peers.works import Works
from bench.presets import Preset
from bench.router.checked import BASELINE, TWIN
from bench.scenario import list_scenarios
from bench.sizes import SEPARATOR
from bench.suite import Suite
from bench.timing.context import MeasurementContext
from bench.timing.group import CannotRunError, GroupSpec
from bench.timing.interleave import one_line

ORDINARY_WORK, MINIMUM = 2e9, 8
"""Floating-point operations of a call that has the preset's rounds; one with more has fewer, but not below that."""


class PeerSuite(Suite[CheckedPeer]):
    """The suite of peers.

    Args:
        preset: with the sizes that inputs name.
        context: what to measure with.
    """

    subject, baseline, twin = "peer", BASELINE, TWIN

    def __init__(self, preset: Preset, context: MeasurementContext) -> None:
        super().__init__(preset, context)
        self._works = Works(preset, context.device)
        self._found: dict[str, dict[str, CheckedPeer]] = {}

    def spec(self, scenario_name: str, input_name: str, routers: Sequence[str]) -> GroupSpec:
        """The preset's rounds, and fewer of what takes long."""
        kind, preset = self._works.kind(input_name), self.preset
        tokens = self._works.num_tokens(input_name)
        rounds = min(preset.rounds, max(round(preset.rounds * ORDINARY_WORK / self._operations(input_name)), MINIMUM))
        return GroupSpec(
            key=f"{scenario_name} | {input_name}",
            scenario=scenario_name,
            input=input_name,
            routers=tuple(routers),
            baseline=BASELINE,
            twin=TWIN,
            gradients=kind.gradients,
            tokens=tokens,
            warmup=preset.warmup,
            repetitions=preset.repetitions,
            rounds=rounds,
            memory=True,
        )

    def _operations(self, input_name: str) -> float:
        """Of the products of a call."""
        sizes, factor = self._works.sizes(input_name), 3 if self._works.kind(input_name).gradients else 1
        of_token = sizes.num_experts + 3 * sizes.top_k * sizes.intermediate_size
        return 2.0 * factor * self._works.num_tokens(input_name) * sizes.hidden_size * of_token

    def check(self, case: Case) -> CheckedPeer:
        """Compare all of a group with the reference and with each other, the first time one is asked for."""
        if case.input not in self._found:
            names = [each.router for each in self.cases(case.scenario, case.input)]
            try:
                work, kind = self._works.work(case.input), self._works.kind(case.input)
                found = check_subjects(work, kind.mode, self._works.num_tokens(case.input), names)
            except Exception as error:  # ours cannot do the work, at sizes that were asked for
                found = {name: CheckedPeer(error=error) for name in names}
            self._found[case.input] = found
        return self._found[case.input][case.router]

    def resolved(self) -> dict[str, str]:
        """The packages that peers are of, where any is planned: another version's times are others."""
        found = versions() if self.planned else {}
        return {f"package {name}": str(version) for name, version in found.items()}

    def store(self, folder: Path) -> None:
        """Nothing: processes draw the weights, which takes less time than to read them; here they are let go."""
        self._works.forget()

    def describe(self, case: Case, checked: CheckedPeer) -> dict[str, Any]:
        """The work, its sizes, and how right the subject is."""
        kind, sizes = self._works.kind(case.input), self._works.sizes(case.input)
        return {
            "subject": self.subject,
            "input": case.input,
            "work": kind.name,
            "mode": kind.mode,
            "num_tokens": self._works.num_tokens(case.input),
            "hidden_size": sizes.hidden_size,
            "intermediate_size": sizes.intermediate_size or None,
            "num_experts": sizes.num_experts,
            "top_k": sizes.top_k,
            "experts_per_token": sizes.top_k,
            "selection": kind.selection,
            "dtype": self._works.preset(case.input).dtype,
            "parameters": checked.parameters,
            "error_to_reference": checked.error_to_reference,
            "agreement": checked.agreement,
        }

    def label(self, case: Case) -> str:
        """The group of a case, for pytest-benchmark's tables."""
        sizes, dtype = self._works.sizes(case.input), self._works.preset(case.input).dtype
        parts = {"T": self._works.num_tokens(case.input), "D": sizes.hidden_size, "I": sizes.intermediate_size}
        parts |= {"E": sizes.num_experts, "K": sizes.top_k}
        shown = " ".join(f"{letter}={size}" for letter, size in parts.items() if size)
        return f"{case.scenario} | {case.input.partition(SEPARATOR)[0]} | {shown} {dtype}"

    def summary(self) -> dict[str, Any]:
        """The works, the packages, and who was left out and why."""
        planned = {scenario for scenario, _ in self.planned}
        scenarios = {
            name: scenario.as_dict() for name, scenario in list_scenarios(self.subject).items() if name in planned
        }
        shared: dict[str, Any] = {"routers": {}, "texts": {}, "scenarios": scenarios}
        if not planned:
            return shared
        works = {kind.name: kind for _, name in self.planned for kind in (self._works.kind(name),)}
        peers = {
            "packages": versions(),
            "works": {
                name: {"label": kind.label, "description": kind.description, "family": kind.family, "mode": kind.mode}
                for name, kind in works.items()
            },
            "left_out": [
                {"input": case.input, "peer": case.router, "reason": one_line_of(checked.error)}
                for case, checked in self._checked.items()
                if checked.error is not None
            ],
        }
        return shared | {"peers": peers}


def one_line_of(error: Exception) -> str:
    """Why somebody was not timed."""
    return str(error) if isinstance(error, CannotRunError) else one_line(error)
