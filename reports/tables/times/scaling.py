"""How the time of a call grows with the tokens, the experts or the hidden size."""

from __future__ import annotations

from statistics import geometric_mean

from reports.format import registry
from reports.format.fields import interval_fields
from reports.format.numbers import count, duration, fixed
from reports.format.table import Column, Table, interval_column, text_column
from reports.judging.slopes import slope, upper_half
from reports.records.report_data import ReportData
from reports.records.size_series import AXES, SizeSeries, Times, size_series

_FLOORS = (
    " The last column is the slope of the router's floor, its bare products and one read of its input, over the same "
    "half: where that is above 1 the sizes leave a cache behind, and a router that grows alike adds nothing to it."
)


def series_shown(data: ReportData) -> list[SizeSeries]:
    """Those of all files' benchmarks."""
    return size_series(data.entries)


@registry.table("latency", "Time against size: {}", place=5, keys=series_shown, timed=True)
def scaling(series: SizeSeries, data: ReportData) -> Table:
    """A row per router: its times at both ends of the range, and the slopes between the logarithms."""
    return Table(
        name=f"scaling-{series.name}",
        title=f"Time against {AXES[series.axis]}: {series.scenario} on {series.input}",
        caption=f"{series.alike}. Slopes of log time over log {AXES[series.axis]}, fitted in each process by least "
        "squares; the interval is Student's 95 % over the processes. 1: the time is in proportion, 0: it does not "
        "depend on it. The upper half of the range is that of the logarithms: at small sizes what a call costs at all "
        "hides what each costs more." + (_FLOORS if series.floors else ""),
        rows=[_row(router, times, series.floors.get(router)) for router, times in series.times.items()],
        columns=(
            text_column("Router", "router"),
            Column("Sizes", ("sizes",), count),
            Column("From", ("smallest",), count),
            Column("to", ("largest",), count),
            Column("Time, smallest", ("us_smallest",), duration),
            Column("largest", ("us_largest",), duration),
            interval_column("Slope", "slope", fixed(3)),
            interval_column("Slope, upper half", "upper_slope", fixed(3)),
            *((interval_column("its floor's", "floor_slope", fixed(3)),) if series.floors else ()),
        ),
    )


def _row(router: str, times: Times, floor: Times | None) -> dict[str, object]:
    smallest, largest = min(times), max(times)
    return {
        "router": router,
        "sizes": len(times),
        "smallest": smallest,
        "largest": largest,
        "us_smallest": geometric_mean(times[smallest]),
        "us_largest": geometric_mean(times[largest]),
        **interval_fields("slope", slope(times)),
        **interval_fields("upper_slope", slope(upper_half(times))),
        **(interval_fields("floor_slope", slope(upper_half(floor))) if floor else {}),
    }
