"""Scenarios: what one timed call does, each in its own file of `bench.benchmarks`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar, TypeVar

from bench.presets import Preset


@dataclass(frozen=True, kw_only=True)
class Scenario(ABC):
    """A way to use a router.

    Attributes:
        name: as in the benchmark's group and in the JSON.
        label: for a heading.
        description: what one call does, for the middle of a sentence; {batch} and {length} stand for B and S.
        gradients: the call runs with autograd on.
        measured_by_default: presets that name no scenarios collect it.
    """

    subject: ClassVar[str]
    """What is measured: "router", "language_model", or "peer"."""

    name: str
    label: str
    description: str
    gradients: bool = False
    measured_by_default: bool = True

    @abstractmethod
    def benchmark(self) -> Callable[..., None]:
        """What pytest collects: a benchmark of the scenario, whose arguments are `parameters`."""

    @abstractmethod
    def parameters(self, preset: Preset) -> dict[str, Sequence[Any]]:
        """What pytest runs the benchmark with under a preset: argument -> names; one without a name runs nothing.

        Several arguments, separated by commas, have tuples of names.
        """

    def check_sizes(self, preset: Preset) -> None:  # noqa: B027  # most can have any
        """Refuse sizes of a preset that the scenario cannot have, with a ValueError."""

    def is_collected(self, preset: Preset) -> bool:
        """Whether a preset asks for it."""
        return self.name in preset.scenarios if preset.scenarios else self.measured_by_default

    def as_dict(self, **sizes: int) -> dict[str, str]:
        """The scenario's record in the JSON, with the sizes in the description filled in."""
        return {"label": self.label, "description": self.description.format(**sizes), "subject": self.subject}


AnyScenario = TypeVar("AnyScenario", bound=Scenario)

_scenarios: dict[str, Scenario] = {}


def register_scenario(scenario: AnyScenario) -> AnyScenario:
    """Make a scenario known under its name.

    Raises:
        ValueError: another scenario has the name.
    """
    if _scenarios.setdefault(scenario.name, scenario) is not scenario:
        raise ValueError(f"scenario {scenario.name!r} is already registered")
    return scenario


def list_scenarios(subject: str) -> dict[str, Scenario]:
    """The registered scenarios of a subject, in the order of their names, which is that of their files."""
    _import_all()
    return {name: scenario for name, scenario in sorted(_scenarios.items()) if scenario.subject == subject}


def get_scenario(name: str) -> Scenario:
    """The registered scenario of that name, whatever its subject."""
    _import_all()
    return _scenarios[name]


def _import_all() -> None:
    benchmarks = import_module("bench.benchmarks")
    for module in iter_modules(benchmarks.__path__):
        import_module(f"bench.benchmarks.{module.name}")
