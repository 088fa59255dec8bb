"""Which inputs, scenario and routers stand for a run on its first screen."""

from __future__ import annotations

import re
from collections.abc import Iterable

from reports.format.escape import one_line, shorten
from reports.format.registry import inputs_shown, inputs_timed, of_usual_size
from reports.judging.order import STOCK, in_order
from reports.records.measurements import Entry, LanguageEntry
from reports.records.report_data import ReportData

LONGEST_NAME = 40
"""Characters of a name in a sentence or in the first screen's table; the CSV has all."""
_MOST_NAMES = 6
_TIMED = "random"
_TEXT = "contextual"
_INSIDE = "decode"


def timed_input(data: ReportData) -> str | None:
    """The input whose times stand for the router alone: random, or else the one whose size is nearest to its usual."""
    found = inputs_timed(data) or inputs_shown(data)
    return _TIMED if _TIMED in found else of_usual_size(data, found)


def text_input(data: ReportData) -> str | None:
    """The input made of real text whose loads stand for all: contextual, or else the first."""
    found = [name for name in inputs_shown(data) if data.inputs[name].text is not None]
    return _TEXT if _TEXT in found else next(iter(found), None)


def alone(data: ReportData, scenario: str = "router") -> dict[str, Entry]:
    """A scenario on the input that stands for its times, by router; empty where it was not measured."""
    name = timed_input(data)
    if name is None:
        name = next((entry.input for entry in data.entries if entry.scenario == scenario), None)
    return {} if name is None else data.find(scenario, name)


def on_text(data: ReportData) -> dict[str, Entry]:
    """The router alone on text, by router; empty where no input is made of text."""
    name = text_input(data)
    return {} if name is None else data.find("router", name)


def inside_scenario(data: ReportData) -> str | None:
    """The scenario that stands for the time inside a language model: decode, or else the first measured."""
    found = dict.fromkeys(entry.scenario for entry in data.language)
    return _INSIDE if _INSIDE in found else next(iter(found), None)


def inside(data: ReportData) -> list[LanguageEntry]:
    """Its measurements; empty where there is none."""
    name = inside_scenario(data)
    return [] if name is None else data.inside(name)


def routers(data: ReportData) -> tuple[str, ...]:
    """Every router of any kind of measurement, in the report's order; the model's own gates where they were tuned."""
    tuned = data.fine_tuning.routers if data.fine_tuning else ()
    names = in_order([*data.routers, *(entry.router for entry in data.language), *tuned])
    return tuple(name for name in names if name != STOCK or STOCK in tuned or not data.entries)


def short(name: str) -> str:
    """A name as a sentence shows it."""
    return shorten(one_line(name), LONGEST_NAME)


def some(phrases: Iterable[str]) -> str:
    """`a, b and c`, or `a, b, c, d and 36 more`."""
    known = list(phrases)
    if len(known) > _MOST_NAMES + 1:
        return f"{', '.join(known[:_MOST_NAMES])} and {len(known) - _MOST_NAMES} more"
    return " and ".join(part for part in (", ".join(known[:-1]), *known[-1:]) if part)


def row_ids(names: Iterable[str], prefix: str = "router") -> tuple[str, ...]:
    """An id for the row of each name, unique, of letters that a link can hold."""
    found: list[str] = []
    for name in names:
        stem = f"{prefix}-{re.sub(r'[^A-Za-z0-9_]+', '-', name)[:LONGEST_NAME].strip('-') or 'row'}"
        number = sum(other == stem or other.rpartition("--")[0] == stem for other in found)
        found.append(f"{stem}--{number + 1}" if number else stem)
    return tuple(found)
