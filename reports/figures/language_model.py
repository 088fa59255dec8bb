"""Time inside a language model as a ratio to the model's own gates, a panel per scenario."""

from __future__ import annotations

from reports.errors import MissingDataError
from reports.figures.ratio_axis import Point, draw_panels
from reports.format import registry
from reports.format.plot import Plot
from reports.judging.order import STOCK, in_order, start_rank
from reports.records.report_data import ReportData


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
    return Plot(
        name="language-model",
        title=f"Time inside a language model as a ratio to {baseline}",
        caption="Logarithmic axes, one scale a panel; whiskers are 95 % intervals over processes, and very wide ones "
        "run off the panel. The grey band is the noise floor: the model with its own gates against itself. A router "
        "whose whiskers reach the line at 1 costs the model nothing that was seen.",
        draw=lambda: draw_panels(
            panels, in_order(entry.router for entry in everyone), [f"{start} start" for start in starts], width=2.7
        ),
    )
