"""The router and the experts that it selects, for one token. Axes: T tokens, D hidden size."""

from __future__ import annotations

from itertools import cycle

import torch
from torch import Tensor

from bench.router.scenarios import MakeExperts, RouterScenario
from bench.scenario import register_scenario
from bench.timing.interleave import Call
from routers import MoELayer, Router

TOKENS_IN_TURN = 64


def one_token(router: Router, hidden_states: Tensor, experts: MakeExperts) -> Call:
    """Router and selected experts for one token of hidden_states (T, D): the paper's token latency.

    Calls go through the first tokens in turn, because which experts a token meets decides what is found in the caches:
    every router meets the same tokens in the same order, those called several times a round sooner.
    """
    layer = MoELayer(router.hidden_size, 0, router.num_experts, router, experts=experts())
    tokens = cycle(torch.split(hidden_states[:TOKENS_IN_TURN], 1))
    return lambda: layer(next(tokens))


SCENARIO = register_scenario(
    RouterScenario(
        name="token",
        label="One token",
        description="the router and the experts it selects, for one token",
        prepare=one_token,
        tokens=lambda _: 1,
        with_experts=True,
    )
)

bench_token = SCENARIO.benchmark()
