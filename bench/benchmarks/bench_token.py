"""Router and selected experts for one token at batch size 1: the paper's token latency."""

from __future__ import annotations

from bench.case import Case
from bench.session import Replay

SCENARIO = "token"


def bench_token(replay: Replay, input_name: str, router_name: str) -> None:
    """Time of one token through the layer."""
    replay(Case(SCENARIO, router_name, input_name))
