"""The JSON of the regression gate, `python -m bench.gate`, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from reports.loading.check import check
from reports.loading.document import GATE, about, expect_kind, read_document
from reports.records.record import Count, Flag, Number, Positive, Ratio, Record, Text

SCHEMA = 1


class Named(Record):
    """Something of which the name alone matters here."""

    name: Text


class Commit(Record):
    """A revision."""

    ref: Text
    commit: Text
    subject: Text


class GateRow(Record):
    """A benchmark that was timed in both revisions, or failed."""

    benchmark: Text
    base_us: Positive | None = None
    head_us: Positive | None = None
    ratio: Ratio | None = None
    floor: Number | None = None
    pairs: Count
    first_look: Ratio | None = None
    verdict: Literal["FAILED", "SLOWER", "UNCERTAIN", "FASTER", "SAME"]
    reason: Text | None = None
    expected: Flag


class GateFigure(Record):
    """A count or a metric that differs between the revisions."""

    benchmark: Text
    figure: Text
    base: Number | None
    head: Number | None
    expected: Flag


class Outcome(Record):
    """How the gate ended, and why."""

    exit_code: Literal[0, 1, 3]
    reasons: tuple[Text, ...]


class GateDocument(Record):
    """What the gate found."""

    base: Commit
    head: Commit
    preset: Named
    select: Text | None = None
    device: Text
    threads: Count
    machine: dict[str, Any]
    threshold: Positive
    margin: Positive | None = None
    floor_multiple: Number
    elapsed_s: Number
    notices: tuple[Text, ...]
    rows: tuple[GateRow, ...]
    figures: tuple[GateFigure, ...]
    figures_compared: Count
    added: tuple[Text, ...]
    removed: tuple[Text, ...]
    geometric_mean: Ratio | None = None
    outcome: Outcome

    @field_validator("rows")
    @classmethod
    def _name_each_benchmark_once(cls, rows: tuple[GateRow, ...]) -> tuple[GateRow, ...]:
        if len({row.benchmark for row in rows}) < len(rows):
            raise PydanticCustomError("empty", "hold a benchmark twice")
        return rows


def read_gate(path: Path) -> GateDocument:
    """The gate's result that a file holds, or a `ReportError` that names the file and what is wrong with it."""
    with about(path):
        document = read_document(path)
        expect_kind(document, GATE, SCHEMA)
        return check(GateDocument, document)
