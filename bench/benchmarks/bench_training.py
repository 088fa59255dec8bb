"""Forward and backward of the router on the whole batch. Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.router.scenarios import MakeExperts, RouterScenario
from bench.scenario import register_scenario
from bench.timing.interleave import Call
from routers import Router


def training_step(router: Router, hidden_states: Tensor, _: MakeExperts) -> Call:
    """Forward, and backward to the parameters and the hidden states (T, D) from a fixed gradient of the probabilities.

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


SCENARIO = register_scenario(
    RouterScenario(
        name="training",
        label="Training step",
        description="forward and backward of the router, on the whole batch",
        prepare=training_step,
        gradients=True,
    )
)

bench_training = SCENARIO.benchmark()
