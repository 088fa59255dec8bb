"""Fields of a table's row: an interval as three of them, a spread as two."""

from __future__ import annotations

from collections.abc import Collection
from statistics import fmean, stdev

from reports.judging.intervals import Interval


def interval_fields(prefix: str, value: Interval | None) -> dict[str, float | None]:
    """An interval as three fields of a row."""
    estimate, low, high = (value.estimate, value.low, value.high) if value else (None, None, None)
    return {prefix: estimate, f"{prefix}_low": low, f"{prefix}_high": high}


def spread_fields(prefix: str, values: Collection[float]) -> dict[str, float | None]:
    """Mean and standard deviation (ddof 1) as two fields of a row; one value alone has no deviation."""
    return {
        prefix: fmean(values) if values else None,
        f"{prefix}_sd": stdev(values) if len(values) > 1 else None,
    }
