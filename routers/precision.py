"""The precision in which routers decide. Axes: T tokens, N values of each, K experts per token."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


def in_own_dtype(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a router without autocast, which would multiply in less than the router's own dtype.

    A float32 router would then decide on bfloat16 logits; at E = 512 that changes 0.65 % of what is selected.
    """
    if getattr(method, "_heeds_autocast", False):
        return method

    @functools.wraps(method)
    def without_autocast(self: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not autocast_is_on():
            return method(self, hidden_states, *args, **kwargs)
        device = hidden_states.device.type
        if device == "meta":  # it has no autocast
            return method(self, hidden_states, *args, **kwargs)
        with torch.autocast(device, enabled=False):
            return method(self, hidden_states, *args, **kwargs)

    return without_autocast


autocast_is_on: Callable[[], bool] = torch._C._is_any_autocast_enabled
"""Whether it is for any device. To ask for a tensor's own, by name, takes eight times as long, and routers are called
for each token that a language model decodes."""


def heeds_autocast(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that asks by itself whether autocast is on: `in_own_dtype` leaves it as it is."""
    method._heeds_autocast = True  # type: ignore[attr-defined]  # of a function, which has any
    return method


class _Method(nn.Module):
    """One method of a module as a module, whose parameters can be replaced for a call without the module's hooks."""

    def __init__(self, owner: nn.Module, name: str) -> None:
        super().__init__()
        self.owner = owner
        self.name = name

    def forward(self, tokens: Tensor) -> Tensor:
        """What the method makes of tokens."""
        found: Tensor = getattr(self.owner, self.name)(tokens)
        return found


def in_float32(owner: nn.Module, method: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """What a module's own method makes of tokens (T, D), with parameters and buffers of half precision in float32."""
    tensors = dict((*owner.named_parameters(), *owner.named_buffers()))
    half = {name: each for name, each in tensors.items() if each.is_floating_point() and each.dtype.itemsize < 4}
    if not half:
        return method(tokens)
    widened = {f"owner.{name}": tensor.float() for name, tensor in half.items()}
    found: Tensor = functional_call(_Method(owner, method.__name__), widened, (tokens.float(),))
    return found


def refuse_non_finite(tokens: Tensor) -> None:
    """Raise a ValueError that names the first token of (T, D) with a NaN or an infinity, and how many there are."""
    bad = (~torch.isfinite(tokens)).any(dim=-1).nonzero()
    if len(bad):
        raise ValueError(
            f"hidden_states hold NaN or infinity in {len(bad)} of {len(tokens)} tokens, first {int(bad[0])}"
        )


def as_parameter_dtype(hidden_states: Tensor, parameter: Tensor) -> Tensor:
    """The hidden states in the router's own dtype: a float32 router computes in float32 inside a bfloat16 model."""
    dtype = parameter.dtype  # asked for first: a cast to the same dtype costs a microsecond
    return hidden_states if hidden_states.dtype == dtype else hidden_states.to(dtype)


def at_least_float32(logits: Tensor) -> Tensor:
    """Low-precision logits in float32, so that the softmax and the selection lose nothing more."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)) if logits.dtype.itemsize < 4 else logits


def log_of_probabilities(probs: Tensor) -> Tensor:
    """What a rule sees of a scorer without logits: log p, finite where p is 0."""
    return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()
