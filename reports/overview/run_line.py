"""A run in one line: what was measured, where, when, of which code, and how much of it."""

from __future__ import annotations

from reports.format.machine import name_of
from reports.records.record import mapping_in
from reports.records.report_data import ReportData, Source

_COMMIT = 10
_MINUTES = len("2026-01-02T03:04")


def run_lines(data: ReportData) -> tuple[str, ...]:
    """A line for each file, which begins with its name where there are several."""
    lines = [_line(source) for source in data.sources]
    if len(lines) < 2:
        return tuple(lines)
    return tuple(f"{source.file}: {line}" for source, line in zip(data.sources, lines, strict=True))


def _line(source: Source) -> str:
    run = source.run
    threads = run.get("threads")
    parts = [
        f"preset {source.preset}" if source.measured else "fine-tuning",
        name_of(source.machine),
        _said(run.get("device")),
        "" if threads is None else f"{threads} {'thread' if threads == 1 else 'threads'}",
        _said(run.get("dtype")),
        _date(source.date),
        _commit(source),
        _measured(source),
    ]
    return " · ".join(part for part in parts if part)


def _said(value: object) -> str:
    return "" if value is None else str(value)


def _date(date: str) -> str:
    """To the minute; what is no date as it stands."""
    return date[:_MINUTES].replace("T", " ") if date[4:5] == "-" and "T" in date else f"date {date}"


def _commit(source: Source) -> str:
    if source.revision is None:
        return "commit unknown" if source.measured else ""
    state = {True: ", with uncommitted changes", False: ", clean"}.get(source.commit.get("dirty") or False, "")
    return f"commit {source.revision[:_COMMIT]}{state if 'dirty' in source.commit else ''}"


def _measured(source: Source) -> str:
    if not source.measured:
        runs = mapping_in(source.run, "settings").get("steps")
        return f"{runs} steps" if runs else ""
    planned = source.records.planned
    of = "" if planned is None else f" of {planned:,}"
    return f"{source.measured:,}{of} measurements"
