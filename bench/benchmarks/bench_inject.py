"""Routers put into a language model and taken out again, for every registered router and the model's own."""

from __future__ import annotations

from bench.case import Case
from bench.session import Replay

SCENARIO = "inject"


def bench_inject(replay: Replay, router_name: str) -> None:
    """Time to replace all routers and to restore them."""
    replay(Case(SCENARIO, router_name))
