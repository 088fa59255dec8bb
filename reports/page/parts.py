"""What of a report may stand in one table, and how that of a run which is not whole, or proves nothing, is marked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import TypeVar

from reports.format.machine import describe, machines_of, setting_of, unlike_conditions
from reports.format.numbers import listing
from reports.format.plot import Plot
from reports.format.table import Table
from reports.records.measurements import Measurement
from reports.records.report_data import PROVES_NOTHING, ReportData, Source

AnyShown = TypeVar("AnyShown", Table, Plot)
# So many of the fields in which two machines differ are named.
_NAMED = 4


@dataclass(frozen=True)
class Part:
    """Data whose times were taken under the same conditions, or all data for what shows no time.

    Attributes:
        data: of the part.
        sources: the files behind it.
        name: "machine A", or empty where there is one part alone.
        about: what that is.
    """

    data: ReportData
    sources: tuple[Source, ...]
    name: str = ""
    about: str = ""

    def mark(self, shown: AnyShown) -> AnyShown:
        """The table or figure with what a reader has to know of its numbers in the title and below."""
        name, title, caption = shown.name, shown.title, shown.caption
        if self.name:
            place = f"{self.name[0].upper()}{self.name[1:]}"
            name = f"{name}-{self.name.split()[-1].lower()}"
            title += f", {self.name}"
            caption += f" {place}: {self.about}."
            shown = shown.with_findings_of(place)
        if any(source.incomplete for source in self.sources):
            title += " (incomplete run)"
        trials = dict.fromkeys(source.preset for source in self.sources if not source.conclusive)
        if trials:
            title += f" ({listing(list(trials))} run)"
            caption += f" {PROVES_NOTHING}"
            shown = shown.without_verdicts()
        return replace(shown, name=name, title=title, caption=caption)


def whole(data: ReportData, measurements: Iterable[Measurement]) -> Part:
    """Everything, whatever it was timed on."""
    return Part(data, tuple(data.sources_of(measurements)))


def parts_of(data: ReportData, measurements: Sequence[Measurement]) -> list[Part]:
    """A part for each machine and setting that these were timed on."""
    sources = data.sources_of(measurements)
    firsts = {source.conditions: source for source in reversed(sources)}
    if len(firsts) < 2:
        return [whole(data, measurements)]
    kind = "machine" if _fields(list(firsts.values())) - {"setting"} else "setting"
    return [
        Part(
            data.under(conditions),
            of := tuple(source for source in sources if source.conditions == conditions),
            f"{kind} {ascii_uppercase[place] if place < len(ascii_uppercase) else place + 1}",
            _about(of),
        )
        for place, conditions in enumerate(sorted(firsts))
    ]


def notices(data: ReportData) -> list[str]:
    """What a reader has to know before any number, a sentence each, for the page and for the terminal."""
    found = [f"{source.file} {said}" for source in data.sources_of(data.measurements) for said in source.warnings]
    return [*found, *mixed(data)]


def mixed(data: ReportData) -> list[str]:
    """What is said of times that do not compare, a sentence for each kind of measurement that has such."""
    found = []
    for measurements in (data.entries, data.language, data.peers):
        parts = parts_of(data, measurements)
        if len(parts) > 1:
            firsts = [part.sources[0] for part in parts]
            fields = sorted({each.field for other in firsts[1:] for each in unlike_conditions(firsts[0], other)})
            more = f" and {len(fields) - _NAMED} more" if len(fields) > _NAMED else ""
            found.append(
                f"Times of {len(parts)} machines or settings, which do not compare, stand apart: "
                f"{'; '.join(f'{part.name} is {part.about}' for part in parts)}. They differ in "
                f"{listing(fields[:_NAMED]) if not more else ', '.join(fields[:_NAMED])}{more}."
            )
    return list(dict.fromkeys(found))


def _fields(sources: Sequence[Source]) -> set[str]:
    """In what the first of them differs from the others: fields of the machine, "setting" for all of a setting."""
    return {each.field.partition(".")[0] for other in sources for each in unlike_conditions(sources[0], other)}


def _about(sources: Sequence[Source]) -> str:
    first = sources[0]
    machine, _ = machines_of(first, first)
    setting = [f"{name} {value}" for name, value in setting_of(first).items() if value is not None]
    return (
        f"{', '.join([describe(machine), *setting, f'preset {first.preset}'])} ({listing([s.file for s in sources])})"
    )
