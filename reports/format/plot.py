"""A figure with its words, drawn only when it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Plot:
    """A titled figure; `draw` is called once, inside the report's style; `notes` and `left_out` are as a table's."""

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]
    notes: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()

    def without_verdicts(self) -> Plot:
        """Itself: a figure concludes nothing."""
        return self

    def with_findings_of(self, _place: str) -> Plot:
        """Likewise."""
        return self
