"""Hooks that hear what gates decide while their model runs, whatever they answer; also under checkpointing.

Axes: B batch, S sequence, T = B·S tokens, E experts, K experts per token.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction

from harness.replacement.families import form_of
from harness.replacement.gate_forms import Decision
from routers import Router, Routing, TokenChoice


@contextmanager
def hear_gates(gates: Mapping[str, nn.Module], hear: Callable[[str, tuple[Any, ...], Any], None]) -> Iterator[None]:
    """Call `hear(name, inputs, decision)` after each forward pass of each gate, until the block ends.

    A gate is a model's own, one of ours, or a router by itself, whose decision is its `Routing`. Of one of ours, a slot
    that is not kept has the expert −1.
    """
    decided: dict[str, Decision] = {}

    def remember(name: str, scaling: float, _router: nn.Module, _inputs: tuple[Any, ...], routing: Any) -> None:
        if isinstance(routing, TokenChoice):
            decided[name] = (routing.router_logits, routing.routing_weights * scaling, kept_experts(routing))

    def hook(name: str, gate: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        hear(name, inputs, decided.pop(name) if name in decided else _decision(gate, output))

    handles = [gate.register_forward_hook(partial(hook, name)) for name, gate in gates.items()]
    for name, gate in gates.items():
        if isinstance(router := getattr(gate, "router", None), Router):  # its answer may say less than it decided
            handles.append(router.register_forward_hook(partial(remember, name, getattr(gate, "scaling", 1.0))))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def kept_experts(routing: TokenChoice) -> Tensor:
    """The experts that a token has, (T, K) int64, −1 where a slot is not kept: what it names there was not selected."""
    return routing.selected_experts if routing.kept is None else routing.selected_experts.where(routing.kept, -1)


def decide(gate: nn.Module, *inputs: Any) -> Any:
    """What a gate of a model's own decides when it is called with the inputs that `hear_gates` heard."""
    return _decision(gate, gate(*inputs))


def _decision(gate: nn.Module, output: Any) -> Any:
    return output if isinstance(output, Routing) else form_of(gate).read(gate, output)


def refuse_lost_gradient(logits: Tensor) -> Tensor:
    """The logits, which refuse to be differentiated where reentrant checkpointing has cut them off.

    It computes a layer without gradients and again in the backward pass, when a loss of what was heard the first time
    has been made already: its gradient would be lost without a word. Values can be used as ever.
    """
    if torch.compiler.is_compiling() or logits.requires_grad or not _in_reentrant_checkpoint():
        return logits
    with torch.enable_grad():
        heard: Tensor = _CutOff.apply(logits.detach().requires_grad_())  # type: ignore[no-untyped-call]  # torch's
    return heard


def _in_reentrant_checkpoint() -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not CheckpointFunction.forward.__code__:
        frame = frame.f_back
    return frame is not None


class _CutOff(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, logits: Tensor) -> Tensor:
        return logits.view_as(logits)

    @staticmethod
    def backward(_context: Any, *_gradients: Tensor) -> Any:
        raise ValueError(
            "router logits were recorded under checkpointing with use_reentrant=True, which has no gradient for a loss "
            "of them; use use_reentrant=False"
        )


def without_padding(values: Tensor, attention_mask: Tensor | None) -> Tensor:
    """(…, N) -> (T, N), the rows of the tokens that count.

    Args:
        values: one row for each token.
        attention_mask: (B, S), 0 on padding; None where every token counts.
    """
    values = values.flatten(0, -2)
    return values if attention_mask is None else values[attention_mask.flatten().bool()]
