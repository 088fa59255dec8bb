"""On which input figures show what would fill the page if it were shown on all."""

from __future__ import annotations

from reports.figures.input_sizes import chosen_size
from reports.format.registry import inputs_shown
from reports.records.report_data import ReportData

_LEADING = "contextual"


def leading_inputs(data: ReportData) -> list[str]:
    """Contextual embeddings, or else the first that was measured; of several sizes the one of usual size."""
    name = chosen_size(data, inputs_shown(data), _LEADING)
    return [] if name is None else [name]
