"""Tables and figures, known by the decorator above the function that builds them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, wraps
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, TypeVar

from reports.format.plot import Plot
from reports.format.repeats import say_once
from reports.format.table import Table
from reports.records.fine_tuning import FineTuning
from reports.records.models import model_sentence
from reports.records.report_data import ReportData

AnyBuilder = TypeVar("AnyBuilder", bound=Callable[..., Table | Plot])
AnyShown = TypeVar("AnyShown", Table, Plot)
_USUAL_TOKENS = 2_048
_QUICK = "A quick run on a subsample: it proves that the parts work, and is no result."


@dataclass(frozen=True)
class Shown:
    """Where a table or a figure stands.

    Attributes:
        section: the anchor of its section.
        place: its number among the tables, or the figures, of the section.
        name: what is said to be missing where it cannot be built; `{}` for the key.
        build: data -> table or figure, or (key, data) where there are keys.
        keys: data -> what it is built of, one by one (scenarios, inputs); None for one table or figure alone.
        timed: it shows times, and is built of those of one machine and setting at a time.
    """

    section: str
    place: float
    name: str
    build: Callable[..., Any]
    keys: Callable[[ReportData], Iterable[Any]] | None
    timed: bool = False

    def builders(self, data: ReportData) -> Iterator[tuple[str, Callable[[ReportData], Any]]]:
        """A name and a function of the data for each key; of what it builds, tables say once what rows would repeat."""
        if self.keys is None:
            yield self.name, partial(_built, self.build)
            return
        for key in self.keys(data):
            yield self.name.format(key), partial(_built, self.build, key)


def _built(build: Callable[..., Any], *arguments: Any) -> Any:
    shown = build(*arguments)
    return say_once(shown) if isinstance(shown, Table) else shown


class Registry:
    """A decorator of functions that build tables, or figures, and all that it has decorated.

    Args:
        package: whose modules, at any depth, hold the functions.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._known: list[Shown] = []

    def __call__(
        self,
        section: str,
        name: str,
        *,
        place: float = 1000,
        keys: Callable[[ReportData], Iterable[Any]] | None = None,
        timed: bool = False,
    ) -> Callable[[AnyBuilder], AnyBuilder]:
        """The arguments are `Shown`'s; the last of its section unless it has a place."""

        def register(build: AnyBuilder) -> AnyBuilder:
            self._known.append(Shown(section, place, name, build, keys, timed))
            return build

        return register

    def of(self, section: str) -> list[Shown]:
        """Those of a section, in order."""
        for module in walk_packages(import_module(self._package).__path__, f"{self._package}."):
            import_module(module.name)
        return sorted((shown for shown in self._known if shown.section == section), key=lambda shown: shown.place)


table = Registry("reports.tables")
figure = Registry("reports.figures")


def of_fine_tuning(build: Callable[[FineTuning], AnyShown]) -> Callable[[ReportData], AnyShown]:
    """Decorator: gives the function the data's fine-tuning, names the model in a note and marks a quick run.

    The result raises `MissingDataError` where there is no fine-tuning.
    """

    @wraps(build)
    def build_from(data: ReportData) -> AnyShown:
        tuning = data.tuned
        shown: AnyShown = build(tuning)
        notes: tuple[str, ...] = (*shown.notes, model_sentence(tuning.model))
        if tuning.quick:
            return replace(shown, title=f"{shown.title} (quick run)", notes=(*notes, _QUICK))
        return replace(shown, notes=notes)

    return build_from


def inputs_shown(data: ReportData) -> list[str]:
    """The inputs that were measured with the router alone, at the preset's sizes if any was.

    What is shown of each input by itself would fill the page if it were shown at many sizes.
    """
    found = [name for name in data.inputs if data.find("router", name)]
    return [name for name in found if data.inputs[name].sizes is None] or found


def inputs_sampled(data: ReportData) -> list[str]:
    """Those timed in every scenario of which the files hold a sample of single tokens; all where they hold none."""
    timed = inputs_timed(data)
    sampled = [name for name in timed if any(entry.sample for entry in data.find("router", name).values())]
    return sampled or timed


def inputs_timed(data: ReportData) -> list[str]:
    """Those of them that are timed in every scenario."""
    return [name for name in inputs_shown(data) if data.inputs[name].timed]


def of_usual_size(data: ReportData, names: Sequence[str]) -> str | None:
    """The input with about as many tokens as a preset has, which stands for several sizes; None where there is none."""

    def distance(name: str) -> float:
        return abs(math.log(next(iter(data.find("router", name).values())).num_tokens / _USUAL_TOKENS))

    return min(names, key=distance, default=None)
