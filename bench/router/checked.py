"""A router drawn for a run and checked, with what a call does and needs. Axes: T tokens, D hidden size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.router.attention_kernels import AttentionKernels
from bench.router.inputs import Inputs
from bench.router.scenarios import RouterScenario, count_flops
from bench.router.seeds import derive_seed
from bench.timing.group import Checked
from bench.timing.memory import peak_memory
from harness.assets.errors import AssetError
from routers import Router, create_router, get_router_class
from routers.reference.check import check_router

BASELINE = "linear"
TWIN = "linear@again"
"""The baseline a second time, its own object: the two must measure alike, and how far they do is the noise floor."""


@dataclass(frozen=True, eq=False)
class CheckedRouter(Checked):
    """A router that may be timed, or the reason why it may not."""

    router: Router | None = None


def backend(router: nn.Module, hidden_states: Tensor | None = None) -> dict[str, str]:
    """For the JSON: what a router computes with here, if there is a choice that it tells, and the kernel that then ran.

    Args:
        router: in the mode in which it is timed, and so is autograd: some kernels have no backward pass.
        hidden_states: (T, D), of the batch that is timed; by default some of the router's own.
    """
    name = getattr(router, "backend", None)
    if name is None:
        return {}
    if hidden_states is None:
        like = next(router.parameters())
        hidden_states = torch.ones(8, router.hidden_size, dtype=like.dtype, device=like.device)  # type: ignore[call-overload]  # an attribute of every router
    with AttentionKernels() as seen:
        router(hidden_states)
    return {"backend": ": ".join(filter(None, (str(name), ", ".join(seen.names))))}


def draw_router(name: str, inputs: Inputs, hidden_size: int, seed: int) -> Router:
    """A router with the preset's sizes, rule and dtype, and the seed's weights; the twin is the baseline again.

    In evaluation mode, but one that is random in training is measured as it trains: its noise costs time. One that
    selects by itself keeps its own rule.
    """
    preset, known = inputs.preset, BASELINE if name == TWIN else name
    rule: dict[str, Any] = {}
    if preset.selection != "softmax" and not get_router_class(known).selects_by_itself:
        rule = {"selection": preset.selection, **preset.rule_fields}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("router", seed))
        router = create_router(
            known, hidden_size=hidden_size, num_experts=preset.num_experts, top_k=preset.top_k, **rule
        )
    return router.to(inputs.device, inputs.dtype.router).train(router.random_in_training)


def check(name: str, inputs: Inputs, input_name: str) -> CheckedRouter:
    """Draw a router and compare it with the reference on the batch that is timed."""
    try:
        hidden_states = inputs.batch(input_name, 0).hidden_states
        router = draw_router(name, inputs.at(input_name), hidden_states.shape[1], seed=0)
        check_router(router, hidden_states, tolerance=None)
        return CheckedRouter(router=router)
    except AssetError:
        raise
    except Exception as error:  # a router of a user's may fail in any way; its benchmark reports it, others go on
        return CheckedRouter(error=error)


def count(
    checked: CheckedRouter,
    scenario: RouterScenario,
    inputs: Inputs,
    input_name: str,
    experts: Callable[[], nn.Module],
) -> CheckedRouter:
    """Make a scenario's call with a checked router, and count what it does and needs."""
    router = checked.router
    if router is None:
        return checked
    try:
        hidden_states = inputs.batch(input_name, 0).hidden_states
        with torch.set_grad_enabled(scenario.gradients):
            flops = count_flops(scenario.prepare(router, hidden_states, experts))
            # The router is warm now. Its gradients of that call would hide as much of what the next one allocates, and
            # a call prepared anew has none of its inputs.
            router.zero_grad(set_to_none=True)
            peak = peak_memory(scenario.prepare(router, hidden_states, experts), inputs.device)
            router.zero_grad(set_to_none=True)
        return CheckedRouter(router=router, flops=flops, peak_memory=peak)
    except AssetError:
        raise
    except Exception as error:  # as in `check`
        return CheckedRouter(error=error)
