"""Time inside a language model as a ratio to the model's own gates, a panel per scenario."""

from __future__ import annotations

from collections.abc import Sequence

from reports.errors import MissingDataError
from reports.figures.ratio_axis import Point, draw_panels
from reports.figures.style import label
from reports.format import registry
from reports.format.escape import shorten
from reports.format.numbers import listing, significant
from reports.format.plot import Plot
from reports.judging.order import STOCK, in_order, start_rank
from reports.judging.standing import Standing
from reports.records.measurements import LanguageEntry
from reports.records.report_data import ReportData
from reports.tables.language_model.times import standings_to_stock
from reports.tables.ranking import equals, why_unranked

# Characters of a name in the title of a panel.
_LONGEST_NAME = 14


@registry.figure("language-model", "Figure of times inside a language model", place=1, timed=True)
def ratios(data: ReportData) -> Plot:
    """A row per router, a marker per start; the model's own gates are the noise floor."""
    timed = {
        record.label: entries
        for name, record in data.scenarios("language_model").items()
        if (entries := [entry for entry in data.language if entry.scenario == name and entry.router != STOCK])
    }
    if not timed:
        raise MissingDataError("the files hold no timing of another router inside a language model")
    everyone = [entry for entries in timed.values() for entry in entries]
    starts = sorted({entry.initialise for entry in everyone}, key=start_rank)
    panels = {
        name: [Point(entry.router, f"{entry.initialise} start", entry.timing) for entry in entries]
        for name, entries in timed.items()
    }
    baseline = everyone[0].timing.baseline
    verdicts = {name: _verdict(entries, data) for name, entries in timed.items()}
    return Plot(
        name="language-model",
        title=f"Time inside a language model as a ratio to {baseline}",
        caption="Logarithmic axes, one scale a panel; whiskers are 95 % intervals over processes, and very wide ones "
        "run off the panel. The grey band is the noise floor: the model with its own gates against itself. A router "
        f"whose whiskers reach the line at 1 costs the model nothing that was seen.{_how_judged(verdicts, baseline)}"
        f"{_other_work(everyone)}",
        draw=lambda: draw_panels(
            panels,
            in_order(entry.router for entry in everyone),
            [f"{start} start" for start in starts],
            width=2.9,
            notes=verdicts,
        ),
    )


def _verdict(entries: Sequence[LanguageEntry], data: ReportData) -> str:
    """Who stands apart from the model's own gates, in the words of a title; nothing of a run that proves nothing."""
    everyone = (entry.router for entry in data.language if entry.router != STOCK)
    if why_unranked(data, entries, everyone) or not all(source.conclusive for source in data.sources_of(entries)):
        return ""
    standings = standings_to_stock(entries)
    groups = [
        (standing, found)
        for standing in (Standing.SLOWER, Standing.FASTER)
        if (found := [entry for entry in entries if standings[id(entry)] is standing])
    ]
    if not groups:
        return f"all level with {STOCK}"
    standing, found = groups[0]
    if len(found) == len(entries):
        ratios = sorted(entry.timing.ratio.estimate for entry in found)
        return f"all {len(found)} {standing}: × {significant(ratios[0])} to {significant(ratios[-1])}"
    rest = len(entries) - sum(len(found) for _, found in groups)
    parts = [f"{_who(found)} {standing}" for standing, found in groups]
    return ", ".join([*parts, *([f"{rest} level"] if rest else [])])


def _who(entries: Sequence[LanguageEntry]) -> str:
    return shorten(label(entries[0].router), _LONGEST_NAME) if len(entries) == 1 else str(len(entries))


def _how_judged(verdicts: dict[str, str], baseline: str) -> str:
    if not any(verdicts.values()):
        return ""
    return (
        f" Titles say who stands apart from {label(baseline)}, and how many are level with it, by the rule that the "
        "page's end defines."
    )


def _other_work(entries: Sequence[LanguageEntry]) -> str:
    """Who changes the model's work as well, and not its router's time alone."""
    names = list(dict.fromkeys(label(entry.router) for entry in equals(entries)[1]))
    return f" Another number of experts, and so other work of the model: {listing(names)}." if names else ""
