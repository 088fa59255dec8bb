"""Peak memory of a call, a row per router."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.errors import MissingDataError
from reports.figures.input_sizes import widths_differ
from reports.figures.ratio_axis import MOST_SERIES
from reports.figures.style import colours, label, log_ticks, row_panels, shared_legend, title_of
from reports.format import registry
from reports.format.inputs import input_labels
from reports.format.numbers import mebibytes
from reports.format.plot import Plot
from reports.judging.order import in_order
from reports.records.measurements import Measurement
from reports.records.report_data import ReportData

_MIB = 1 << 20
# Sizes that differ by no larger factor are the same to a reader.
_ALIKE = 1.01
_MARKERS = ("o", "s", "D", "^", "v", "P")

Series = Mapping[str, Sequence[Measurement]]
"""Input, or start inside a language model -> what was measured."""


@registry.figure("costs", "Figure of peak memory", place=3)
def routers(data: ReportData) -> Plot:
    """A panel per scenario, a marker per input that is timed in all."""
    inputs, labels = registry.inputs_timed(data), input_labels(data)
    panels: dict[str, dict[str, list[Measurement]]] = {}
    for scenario, record in data.scenarios("router").items():
        for name in inputs:
            shown = labels.get(name, name)
            panel, series = (
                (record.label, shown) if len(inputs) <= MOST_SERIES else (f"{record.label}, {shown}", "router")
            )
            panels.setdefault(panel, {})[series] = list(data.find(scenario, name).values())
    return _plot(panels, "memory", "Peak memory of a call", widths_differ(data, inputs))


@registry.figure("language-model", "Figure of peak memory inside a language model", place=3)
def language_model(data: ReportData) -> Plot:
    """A panel per scenario, a marker per start."""
    panels: dict[str, Series] = {}
    for name, record in data.scenarios("language_model").items():
        series: dict[str, list[Measurement]] = {}
        for entry in data.language:
            if entry.scenario == name:
                series.setdefault(f"{entry.initialise} start", []).append(entry)
        panels[record.label] = series
    return _plot(panels, "memory-language-model", "Peak memory of a call inside a language model", "")


def _plot(panels: Mapping[str, Series], name: str, title: str, about: str) -> Plot:
    kept = {
        scenario: known
        for scenario, series in panels.items()
        if (known := {key: found for key, entries in series.items() if (found := _measured(entries))})
    }
    if not kept:
        raise MissingDataError("the files hold no peak memory of these scenarios")
    equal = {scenario: words for scenario, series in kept.items() if (words := _equal(series))}
    drawn = {scenario: series for scenario, series in kept.items() if scenario not in equal}
    said = "; ".join(f"{scenario}: {words}" for scenario, words in equal.items())
    if not drawn:
        raise MissingDataError(f"all routers allocate the same ({said})")
    left_out = f" Not drawn, because all routers allocate the same: {said}." if equal else ""
    return Plot(
        name=name,
        title=title,
        caption="What one call allocates at its worst moment, beyond what was there before; logarithmic axes, one "
        "scale a panel. Further left is leaner; a router that allocates nothing stands at the left edge with a 0. "
        f"Memory is counted, not sampled: it has no interval.{left_out}{about}",
        draw=lambda: _draw(drawn),
    )


def _measured(entries: Sequence[Measurement]) -> list[Measurement]:
    return [entry for entry in entries if entry.peak_memory is not None]


def _equal(series: Series) -> str:
    """The one size that all of several routers have, or one a series; nothing where they differ."""
    if len({entry.router for entries in series.values() for entry in entries}) < 2:
        return ""
    sizes = {key: [entry.peak_memory or 0 for entry in entries] for key, entries in series.items()}
    if any(max(each) > _ALIKE * min(each) for each in sizes.values()):
        return ""
    known = [size for each in sizes.values() for size in each]
    if max(known) <= _ALIKE * min(known):
        return f"{mebibytes(max(known))} MiB"
    return ", ".join(f"{label(key)} {mebibytes(max(each))} MiB" for key, each in sizes.items())


def _draw(panels: Mapping[str, Series]) -> Figure:
    names = in_order(entry.router for series in panels.values() for entries in series.values() for entry in entries)
    keys = list(dict.fromkeys(key for series in panels.values() for key in series))
    palette = dict(zip(keys, colours(len(keys)), strict=True))
    figure, axes = row_panels(len(panels), names, width=2.7, row=0.3)
    for ax, (scenario, series) in zip(axes, panels.items(), strict=True):
        beside = {router: [key for key, entries in series.items() if _has(entries, router)] for router in names}
        for key, entries in series.items():
            sizes = {
                names.index(entry.router) + _apart(beside[entry.router], key): (entry.peak_memory or 0) / _MIB
                for entry in entries
            }
            _draw_sizes(ax, sizes, palette[key], _MARKERS[keys.index(key) % len(_MARKERS)], key)
        _finish(ax, scenario)
    shared_legend(figure, axes, columns=4)
    return figure


def _has(entries: Sequence[Measurement], router: str) -> bool:
    return any(entry.router == router for entry in entries)


def _apart(keys: Sequence[str], key: str) -> float:
    """How far from the middle of a row the marker of a series stands, beside the others that the row has."""
    return 0.4 * ((keys.index(key) + 0.5) / len(keys) - 0.5)


def _draw_sizes(ax: Axes, sizes: Mapping[float, float], colour: str, marker: str, key: str) -> None:
    known = {row: size for row, size in sizes.items() if size > 0}
    ax.plot(list(known.values()), list(known), marker, color=colour, markersize=4.5, label=label(key))
    for row in sizes.keys() - known.keys():
        ax.text(0.01, row, "0", transform=ax.get_yaxis_transform(), va="center", fontsize=8, color=colour)


def _finish(ax: Axes, scenario: str) -> None:
    ax.set(title=title_of(scenario, 2.7), xscale="log", xlabel="MiB")
    low, high = ax.get_xlim()
    if high < 1.5 * low:
        # All need about the same: an axis of a few per cent would make mountains of molehills.
        low, high = low / 1.5, high * 1.5
        ax.set_xlim(low, high)
    log_ticks(ax.xaxis, low, high)
    ax.grid(axis="x")
    ax.set_axisbelow(True)
