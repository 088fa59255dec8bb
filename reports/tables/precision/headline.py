"""What rounding does to a router's decisions in one number: flips in bfloat16, on the input that stands for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from reports.format import registry
from reports.format.fields import interval_fields
from reports.format.numbers import share_interval
from reports.format.table import Column
from reports.records.measurements import Entry, LanguageEntry
from reports.records.report_data import ReportData
from reports.records.stat import NO_STAT, Stat

HEADLINE = "bfloat16"
"""The precision of the headline: all that rounding does, storing and arithmetic."""
_LEADING = "contextual"

AnyEntry = TypeVar("AnyEntry", Entry, LanguageEntry)


def compared(entries: Sequence[AnyEntry]) -> list[AnyEntry]:
    """Those of which some precision was compared with float64."""
    return [entry for entry in entries if entry.precision and entry.precision.compared]


def inputs_compared(data: ReportData) -> list[str]:
    """The inputs on which it was, in the order of the page."""
    return [name for name in registry.inputs_shown(data) if compared(list(data.find("router", name).values()))]


def headline_input(data: ReportData) -> str | None:
    """The input of the headline: contextual embeddings, or else the one of usual size."""
    inputs = inputs_compared(data)
    return _LEADING if _LEADING in inputs else registry.of_usual_size(data, inputs)


def headline_fields(data: ReportData, router: str) -> dict[str, float | None]:
    """A router's flips in bfloat16 on the input of the headline, as fields `flips` of a row."""
    name = headline_input(data)
    entry = None if name is None else data.find("router", name).get(router)
    return share_fields("flips", stat_of(entry, HEADLINE, "flip_rate"))


def flips_column(heading: str) -> Column:
    """A column of these fields."""
    return Column(heading, ("flips", "flips_low", "flips_high"), share_interval)


def stat_of(entry: Entry | LanguageEntry | None, precision: str, quantity: str) -> Stat:
    """A quantity of a precision over the seeds, without values where there is none."""
    return NO_STAT if entry is None or entry.precision is None else entry.precision.stat(precision, quantity)


def share_fields(prefix: str, stat: Stat) -> dict[str, float | None]:
    """A share's mean and interval, whose ends stay within 0 and 1."""
    found: Mapping[str, float | None] = interval_fields(prefix, stat.interval)
    return {name: None if value is None else min(1.0, max(0.0, value)) for name, value in found.items()}
