"""Router forward and backward on the whole batch."""

from __future__ import annotations

from bench.case import Case
from bench.session import Replay

SCENARIO = "training"


def bench_training(replay: Replay, input_name: str, router_name: str) -> None:
    """Time of the routing decision and its gradients."""
    replay(Case(SCENARIO, router_name, input_name))
