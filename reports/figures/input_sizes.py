"""How wide an input is, and which of several sizes a figure shows. Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.format.registry import inputs_shown
from reports.records.measurements import Entry
from reports.records.report_data import ReportData

USUAL_TOKENS = 2_048
"""About as many tokens as a preset has."""
_SEPARATOR = "@"
WIDTHS_DIFFER = " Inputs differ in their width D: what differs between them is an effect of the size as well."
"""For the caption of a figure that shows several."""


def widths_differ(data: ReportData, names: Sequence[str]) -> str:
    """The sentence that says so, where these inputs do."""
    widths = {entry.hidden_size for entry in data.entries if entry.input in names}
    return WIDTHS_DIFFER if len(widths) > 1 else ""


def chosen_size(data: ReportData, names: Sequence[str], leading: str = "") -> str | None:
    """The input that a figure shows alone; None where there is none.

    It is the leading one, or else the first. Of an input at several sizes it is the one whose number of tokens is
    nearest to a preset's, and the widest of those: few tokens leave much to chance, and other reports show as many.
    """
    stems = list(dict.fromkeys(map(_stem, names)))
    if not stems:
        return None
    stem = leading if leading in stems else stems[0]
    return min((name for name in names if _stem(name) == stem), key=lambda name: _distance(data, name))


def size_sentence(data: ReportData, name: str) -> str:
    """Which of several sizes of an input this is, and why it is shown; nothing where there is one size."""
    sizes, entry = [other for other in inputs_shown(data) if _stem(other) == _stem(name)], _any_entry(data, name)
    if len(sizes) < 2 or entry is None:
        return ""
    return (
        f" Of {len(sizes)} sizes this is the one with T = {entry.num_tokens:,}, D = {entry.hidden_size:,} and "
        f"E = {entry.num_experts:,}: the number of tokens nearest to {USUAL_TOKENS:,}, and the widest of such."
    )


def _stem(name: str) -> str:
    return name.partition(_SEPARATOR)[0]


def _any_entry(data: ReportData, name: str) -> Entry | None:
    return next(iter(data.find("router", name).values()), None)


def _distance(data: ReportData, name: str) -> tuple[float, int]:
    entry = _any_entry(data, name)
    if entry is None:
        return math.inf, 0
    return abs(math.log(entry.num_tokens / USUAL_TOKENS)), -entry.hidden_size
