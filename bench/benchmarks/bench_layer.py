"""The router and its experts on the whole batch. Axes: T tokens, D hidden size."""

from __future__ import annotations

from torch import Tensor

from bench.router.scenarios import MakeExperts, RouterScenario
from bench.scenario import register_scenario
from bench.timing.interleave import Call
from routers import MoELayer, Router


def whole_layer(router: Router, hidden_states: Tensor, experts: MakeExperts) -> Call:
    """The layer on hidden_states (T, D), with the load that the router gives its experts."""
    layer = MoELayer(router.hidden_size, 0, router.num_experts, router, experts=experts())
    return lambda: layer(hidden_states)


SCENARIO = register_scenario(
    RouterScenario(
        name="layer",
        label="Layer",
        description="the router and its experts, on the whole batch",
        prepare=whole_layer,
        with_experts=True,
        measured_by_default=False,
    )
)

bench_layer = SCENARIO.benchmark()
