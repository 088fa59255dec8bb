"""Time inside a language model as a ratio to the model's own gates, a panel per scenario."""

from __future__ import annotations

from matplotlib.figure import Figure

from reports.errors import MissingDataError
from reports.figures.ratio_axis import draw_noise, draw_ratios, finish, name_rows
from reports.figures.style import OKABE_ITO, label
from reports.format import registry
from reports.format.plot import Plot
from reports.judging.order import STOCK, in_order, start_rank
from reports.records.measurements import LanguageEntry
from reports.records.report_data import ReportData

_MARKERS = ("o", "s", "D", "^")


@registry.figure("language-model", "Figure of times inside a language model", place=1)
def ratios(study: ReportData) -> Plot:
    """A row per router, a marker per start; the model's own gates are the noise floor."""
    timed = {
        name: entries
        for name in study.scenarios("language_model")
        if (entries := [entry for entry in study.language if entry.scenario == name and entry.router != STOCK])
    }
    if not timed:
        raise MissingDataError("the files hold no timing of another router inside a language model")
    baseline = next(iter(timed.values()))[0].timing.baseline
    return Plot(
        name="language-model",
        title=f"Time inside a language model as a ratio to {baseline}",
        caption="Logarithmic axes, one scale a panel; whiskers are 95 % intervals over blocks, and very wide ones run "
        "off the panel. The grey band is the noise floor: the model with its own gates against itself.",
        draw=lambda: _draw(timed, baseline),
    )


def _draw(timed: dict[str, list[LanguageEntry]], baseline: str) -> Figure:
    everyone = [entry for entries in timed.values() for entry in entries]
    routers = in_order(entry.router for entry in everyone)
    starts = sorted({entry.initialise for entry in everyone}, key=start_rank)
    figure = Figure(figsize=(2.7 * len(timed) + 1.4, 0.34 * len(routers) + 1.5), layout="constrained")
    axes = figure.subplots(1, len(timed), sharey=True, squeeze=False)[0]
    for ax, (scenario, entries) in zip(axes, timed.items(), strict=True):
        draw_noise(ax, [entry.timing for entry in entries])
        for place, start in enumerate(starts):
            chosen = [entry for entry in entries if entry.initialise == start]
            apart = 0.28 * (place - (len(starts) - 1) / 2)
            draw_ratios(
                ax,
                [entry.timing.ratio for entry in chosen],
                [routers.index(entry.router) + apart for entry in chosen],
                colour=OKABE_ITO[place % len(OKABE_ITO)],
                marker=_MARKERS[place % len(_MARKERS)],
                name=label(f"{start} start"),
            )
        ax.set_title(scenario)
        finish(ax, [1.0, *(entry.timing.ratio.estimate for entry in entries)], baseline)
    name_rows(axes[0], routers)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    return figure
