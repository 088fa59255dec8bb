"""Calls of routers, made ready in a fresh process from inputs that another one has stored.

Axes: T tokens, D hidden size, E experts, I intermediate size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.case import Case
from bench.router.checked import draw_router
from bench.router.floor import floor_call
from bench.router.inputs import Inputs
from bench.router.scenarios import get_router_scenario
from bench.timing.group import FLOOR, PreparedCall
from bench.timing.interleave import Call
from bench.timing.ways import COMPILE, floating_tensors, prepared
from routers import FeedForwardExperts

SEED = 0
"""Of the batch, the router and the experts that are timed."""
BATCH = "hidden_states"
"""The key of the batch in a stored input."""


def store_input(folder: Path, name: str, hidden_states: Tensor, experts: nn.Module | None) -> None:
    """Write `<name>.safetensors`: a fresh process reads it in a tenth of a second instead of making it in ten.

    Args:
        folder: where.
        name: of the input.
        hidden_states: (T, D).
        experts: those behind the routers, where a scenario has any.

    Raises:
        TypeError: experts of another class than `FeedForwardExperts`.
    """
    tensors = {BATCH: hidden_states}
    if experts is not None:
        if type(experts) is not FeedForwardExperts:
            raise TypeError(f"only FeedForwardExperts can be stored, not {type(experts).__name__}")
        tensors |= experts.state_dict()
    save_file({key: tensor.cpu().contiguous() for key, tensor in tensors.items()}, folder / f"{name}.safetensors")


class RouterCalls:
    """Makes the calls of routers ready.

    Args:
        inputs: for the preset and the device; nothing is fetched.
        folder: where `store_input` has put the inputs.
        ways: names of `WAYS` in which calls are made.
    """

    def __init__(self, inputs: Inputs, folder: Path, ways: Sequence[str] = ()) -> None:
        self._inputs = inputs
        self._ways = ways
        self._stored = cache(lambda name: _load(folder / f"{name}.safetensors", inputs.device))
        self._bank = cache(self._make_experts)  # all routers of an input share one, in the same memory

    def ready(self, case: Case) -> PreparedCall:
        """A router of the run's seed, and the call of its scenario."""
        hidden_states = self._stored(case.input)[BATCH]
        name = case.router.removesuffix(FLOOR)
        router = draw_router(name, self._inputs.at(case.input), hidden_states.shape[1], SEED)
        if name != case.router:
            # Nothing is left of it to compile: the products are what they are.
            return prepared(
                lambda: floor_call(router, hidden_states), [way for way in self._ways if way != COMPILE], None
            )
        scenario = get_router_scenario(case.scenario)
        with torch.set_grad_enabled(scenario.gradients):
            prepare = partial(scenario.prepare, router, hidden_states, partial(self._bank, case.input))
            return prepared(prepare, self._ways, None if router.random_in_training else partial(_outcome, router))

    def _make_experts(self, input_name: str) -> nn.Module:
        weights = {key: tensor for key, tensor in self._stored(input_name).items() if key != BATCH}
        num_experts, intermediate_size, hidden_size = weights["up_weight"].shape
        with torch.device("meta"):
            experts = FeedForwardExperts(num_experts, hidden_size, intermediate_size)
        experts.load_state_dict(weights, assign=True)
        return experts


def _outcome(router: nn.Module, call: Call) -> list[Tensor]:
    """What a call returns, and the gradients that it leaves."""
    returned = floating_tensors(call())
    return returned + [each.grad.clone() for each in router.parameters() if each.grad is not None]


def _load(path: Path, device: str) -> dict[str, Tensor]:
    """Tensors in memory of this process.

    As loaded they are the file itself, mapped: two processes that load the same file share its pages, each warms the
    caches for the other, and both look 3 % faster than a third.
    """
    return {key: tensor.clone().to(device) for key, tensor in load_file(path).items()}
