"""On which input figures show what would fill the page if it were shown on all."""

from __future__ import annotations

from reports.format.registry import inputs_shown
from reports.records.report_data import ReportData

_LEADING = "contextual"


def leading_inputs(data: ReportData) -> list[str]:
    """Contextual embeddings, or else the first that was measured."""
    inputs = inputs_shown(data)
    return [_LEADING] if _LEADING in inputs else inputs[:1]
