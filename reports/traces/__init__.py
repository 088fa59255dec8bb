"""Routing traces of anybody's Mixture-of-Experts model: read, measured as routers are, shown.

    python -m reports traces FILE... -o DIR

`formats` reads files into a `RoutingTrace`; `analyse` measures it with NumPy alone; `views` makes tables and figures of
what was measured, and `page` one page of them.
"""

from reports.traces.analysis import Analysis, analyse
from reports.traces.errors import TraceError
from reports.traces.formats.read import Hints, read_trace
from reports.traces.trace import RoutingTrace

__all__ = ["Analysis", "Hints", "RoutingTrace", "TraceError", "analyse", "read_trace"]
