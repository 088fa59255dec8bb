"""A router drawn for a run, checked, and made ready to be timed. Axes: T tokens, D hidden size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from bench.router.inputs import Inputs
from bench.router.scenarios import RouterScenario, count_flops
from bench.router.seeds import derive_seed
from bench.timing.group import TimedCall
from bench.timing.memory import peak_memory
from harness.assets.errors import AssetError
from routers import Router, create_router
from routers.reference import check_router

BASELINE = "linear"
TWIN = "linear@again"
"""The baseline a second time, its own object: the two must measure alike, and how far they do is the noise floor."""


@dataclass(frozen=True, eq=False)
class PreparedRouter(TimedCall):
    """A router ready to be timed, or the reason why it cannot be."""

    router: Router | None = None


def backend(router: nn.Module) -> dict[str, str]:
    """For the JSON: what a router computes with here, if there is a choice that it tells."""
    name = getattr(router, "backend", None)
    return {} if name is None else {"backend": str(name)}


def draw_router(name: str, inputs: Inputs, hidden_size: int, seed: int) -> Router:
    """A router with the preset's sizes and the seed's weights, in evaluation mode."""
    preset = inputs.preset
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("router", seed))
        router = create_router(name, hidden_size=hidden_size, num_experts=preset.num_experts, top_k=preset.top_k)
    return router.to(inputs.device).eval()


def prepare_router(
    name: str, scenario: RouterScenario, inputs: Inputs, input_name: str, experts: Callable[[], nn.Module]
) -> PreparedRouter:
    """Draw a router, compare it with the reference, prepare its call and count what that does and needs."""
    try:
        hidden_states = inputs.batch(input_name, 0).hidden_states
        router = draw_router(BASELINE if name == TWIN else name, inputs, hidden_states.shape[1], seed=0)
        check_router(router, hidden_states, tolerance=router.tolerance)
        with torch.set_grad_enabled(scenario.gradients):
            call = scenario.prepare(router, hidden_states, experts)
            flops = count_flops(call)
            # The router is warm now. Its gradients of that call would hide as much of what the next one allocates, and
            # a call prepared anew has none of its inputs.
            router.zero_grad(set_to_none=True)
            peak = peak_memory(scenario.prepare(router, hidden_states, experts), inputs.device)
            return PreparedRouter(router=router, call=call, flops=flops, peak_memory=peak)
    except AssetError:
        raise
    except Exception as error:  # a router of a user's may fail in any way; its benchmark reports it, others go on
        return PreparedRouter(error=error)
