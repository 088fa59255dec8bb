"""Who may be named the first of a table: of whole runs alone, and among routers that select as many experts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Generic, TypeVar

from reports.format.numbers import exact, listing
from reports.judging.standing import UNSEPARATED, judge
from reports.records.measurements import Entry, LanguageEntry
from reports.records.report_data import ReportData

AnyEntry = TypeVar("AnyEntry", Entry, LanguageEntry)

ALL_OTHERS = "all select another number of experts"
"""Why nobody is named where no router selects the K experts that were asked for."""


def why_unranked(data: ReportData, entries: Sequence[Entry | LanguageEntry], everyone: Iterable[str]) -> str | None:
    """Why nobody is named the first of these, or None: a run is not whole, or a router of the report is missing."""
    incomplete = [source.file for source in data.sources_of(entries) if source.incomplete]
    if incomplete:
        return f"{listing(incomplete)} is not whole"
    here = {entry.router for entry in entries}
    missing = [router for router in dict.fromkeys(everyone) if router not in here]
    return f"{listing(missing)} {'was' if len(missing) == 1 else 'were'} not measured" if missing else None


def equals(entries: Sequence[AnyEntry]) -> tuple[list[AnyEntry], list[AnyEntry]]:
    """Routers that select the K experts that were asked for, and those that select another number: other work."""
    same = [entry for entry in entries if entry.experts_per_token == entry.top_k]
    return same, [entry for entry in entries if entry not in same]


@dataclass(frozen=True)
class Ranking(Generic[AnyEntry]):
    """The first of several, those that cannot be told apart from it, and the others, in order."""

    first: AnyEntry
    level: list[AnyEntry]
    behind: list[AnyEntry]


def by_time(entries: Sequence[AnyEntry]) -> Ranking[AnyEntry]:
    """The fastest of one or more.

    The first was chosen by what was measured, among all pairs: they are the comparisons to correct for.
    """
    ranked = sorted(entries, key=lambda entry: entry.timing.ratio.estimate)
    pairs = list(combinations(ranked, 2))
    standings = judge([second.shift_to(first) for first, second in pairs])[: len(ranked) - 1]
    told = list(zip(ranked[1:], standings, strict=True))
    return Ranking(
        ranked[0],
        [entry for entry, standing in told if standing in UNSEPARATED],
        [entry for entry, standing in told if standing not in UNSEPARATED],
    )


def among(entry: Entry | LanguageEntry) -> str:
    """Among whom a router is the first."""
    return f"of the routers that select {entry.top_k} {'expert' if entry.top_k == 1 else 'experts'} a token"


def apart(others: Sequence[AnyEntry], name: Callable[[AnyEntry], str]) -> str:
    """Those that select another number of experts, each with it: `apart: hash (1 expert), all (8 experts)`."""
    return f"apart, selecting another number: {listing([f'{name(each)} ({_number(each)})' for each in others])}"


def _number(entry: Entry | LanguageEntry) -> str:
    number = entry.experts_per_token
    return "experts unknown" if number is None else f"{exact(number)} {'expert' if number == 1 else 'experts'}"
