"""Router forward and backward on the whole batch."""

from __future__ import annotations

from bench.session import Replay

SCENARIO = "training"


def bench_training(replay: Replay, input_name: str, router_name: str) -> None:
    """Time of the routing decision and its gradients."""
    replay(SCENARIO, input_name, router_name)
