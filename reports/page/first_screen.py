"""The overview of a report, put together machine by machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reports.errors import MissingDataError
from reports.overview.answers import answers
from reports.overview.overview import Overview
from reports.overview.pareto import pareto
from reports.overview.routers_table import routers_table
from reports.overview.run_line import run_lines
from reports.overview.trust import trust_box
from reports.page.parts import Part, mixed, parts_of
from reports.records.report_data import ReportData


def first_screen(data: ReportData) -> Overview:
    """What a reader sees first, with times of unlike machines apart."""
    parts = parts_of(data, data.entries or data.language)
    prefixes = [f"{part.name.split()[-1].lower()}-router" if part.name else "router" for part in parts]
    left_out: list[str] = []
    tables = [
        _built("Routers", lambda of: routers_table(of, prefix), part, left_out)  # noqa: B023  # called at once
        for part, prefix in zip(parts, prefixes, strict=True)
    ]
    plots = [_built("Time against evenness", pareto, part, left_out) for part in parts]
    return Overview(
        run_lines=run_lines(data),
        trust=trust_box(data, mixed(data)),
        answers=tuple((f"{part.name[:1].upper()}{part.name[1:]}", answers(part.data)) for part in parts),
        tables=tuple(table for table in tables if table),
        plots=tuple(plot for plot in plots if plot),
        left_out=tuple(left_out),
    )


def _built(what: str, build: Callable[[ReportData], Any], part: Part, left_out: list[str]) -> Any:
    try:
        return part.mark(build(part.data))
    except MissingDataError as missing:
        left_out.append(f"{what}{f', {part.name}' if part.name else ''}: left out, because {missing}.")
        return None
