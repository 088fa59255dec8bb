"""The router alone on the whole batch. Axes: T tokens, D hidden size."""

from __future__ import annotations

from torch import Tensor

from bench.router.scenarios import MakeExperts, RouterScenario
from bench.scenario import register_scenario
from bench.timing.interleave import Call
from routers import Router


def router_alone(router: Router, hidden_states: Tensor, _: MakeExperts) -> Call:
    """The routing decision for the whole batch, hidden_states (T, D)."""
    return lambda: router(hidden_states)


SCENARIO = register_scenario(
    RouterScenario(
        name="router",
        label="Router alone",
        description="the router alone, on the whole batch",
        prepare=router_alone,
        every_input=True,
        with_floor=True,
    )
)

bench_router = SCENARIO.benchmark()
