"""A language model's next token, with every registered router and with its own."""

from __future__ import annotations

from bench.case import Case
from bench.session import Replay

SCENARIO = "decode"


def bench_decode(replay: Replay, router_name: str) -> None:
    """Time of one token after those in the cache."""
    replay(Case(SCENARIO, router_name))
