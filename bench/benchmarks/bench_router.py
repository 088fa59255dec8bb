"""The router alone on the whole batch, for every registered router and every input."""

from __future__ import annotations

from bench.case import Case
from bench.session import Replay

SCENARIO = "router"


def bench_router(replay: Replay, input_name: str, router_name: str) -> None:
    """Time of the routing decision."""
    replay(Case(SCENARIO, router_name, input_name))
