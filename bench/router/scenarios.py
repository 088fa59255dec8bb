"""What one timed call does. Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.router.inputs import INPUTS
from bench.timing.interleave import Call
from routers import MoELayer, Router

TOKENS_IN_TURN = 64

MakeExperts = Callable[[], nn.Module]


@dataclass(frozen=True)
class Scenario:
    """A way to use a router.

    Attributes:
        name: as in the benchmark's group and in the JSON.
        prepare: (router, hidden_states (T, D), experts) -> the call to time; the experts are made when called.
        inputs: the inputs it is timed on.
        gradients: the call runs with autograd on.
        tokens: how many of the T tokens one call handles.
    """

    name: str
    prepare: Callable[[Router, Tensor, MakeExperts], Call]
    inputs: tuple[str, ...]
    gradients: bool
    tokens: Callable[[int], int]


def router_alone(router: Router, hidden_states: Tensor, _: MakeExperts) -> Call:
    """The routing decision for the whole batch."""
    return lambda: router(hidden_states)


def one_token(router: Router, hidden_states: Tensor, experts: MakeExperts) -> Call:
    """Router and selected experts for one token: the paper's token latency.

    Calls go through the first tokens in turn, because which experts a token meets decides what is found in the caches:
    every router meets the same tokens in the same order, those called several times a round sooner.
    """
    layer = MoELayer(router.hidden_size, 0, router.num_experts, router, experts=experts())
    tokens = cycle(torch.split(hidden_states[:TOKENS_IN_TURN], 1))
    return lambda: layer(next(tokens))


def training_step(router: Router, hidden_states: Tensor, _: MakeExperts) -> Call:
    """Forward, and backward to the parameters and the hidden states from a fixed gradient of the probabilities.

    A router without a gradient (hash) runs forward alone.
    """
    # The batch itself, not a copy: where a copy lies in memory would be a part of what is measured.
    inputs = hidden_states.detach().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(len(inputs), router.num_experts, generator=generator).to(inputs.device)

    def step() -> None:
        inputs.grad = None
        router.zero_grad(set_to_none=True)
        probs = router(inputs).router_probs
        if probs.requires_grad:
            probs.backward(gradient)

    return step


_TIMED = tuple(name for name, kind in INPUTS.items() if kind.timed)

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("router", router_alone, tuple(INPUTS), gradients=False, tokens=lambda tokens: tokens),
        Scenario("token", one_token, _TIMED, gradients=False, tokens=lambda _: 1),
        Scenario("training", training_step, _TIMED, gradients=True, tokens=lambda tokens: tokens),
    )
}


def count_flops(call: Call) -> int:
    """Floating-point operations of one call, matrix products only, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())
