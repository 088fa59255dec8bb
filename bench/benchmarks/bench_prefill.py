"""A language model reads a text, with every registered router and with its own."""

from __future__ import annotations

from bench.case import Case
from bench.session import Replay

SCENARIO = "prefill"


def bench_prefill(replay: Replay, router_name: str) -> None:
    """Time of one forward pass without a cache."""
    replay(Case(SCENARIO, router_name))
