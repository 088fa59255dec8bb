"""What is wrong with a trace."""

from __future__ import annotations

from reports.errors import ReportError


class TraceError(ReportError, ValueError):
    """A trace that cannot be read or measured; one line with the file, the place, the value and what was expected."""
