"""Noisy top-k router. Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from routers.logit_router import LogitRouter
from routers.parameters import normal_parameter
from routers.precision import as_parameter_dtype, at_least_float32
from routers.reference.routing import TokenReference
from routers.reference.rule import reference_selection
from routers.registry import register_router


@register_router("noisy_top_k")
class NoisyTopKRouter(LogitRouter):
    """ℓ = W x + ε, ε ~ N(0, (c/E)²) while it trains and 0 in evaluation: experts that are nearly as good get a try.

    Riquelme et al. 2021, "Scaling Vision with Sparse Mixture of Experts", section 2.1 and vmoe's code: probabilities,
    selection and weights are those of the noisy logits. The noise is drawn from torch's generator, in float32 whatever
    the router's dtype, anew in every call. D·E parameters.

    Args:
        noise: c, the standard deviation as a multiple of 1/E.
        **sizes_and_options: see `Router`.

    Raises:
        ValueError: noise that is below 0 or not finite.
    """

    measured_by_default = False
    random_in_training = True

    def __init__(self, *, noise: float = 1.0, **sizes_and_options: Any) -> None:
        super().__init__(**sizes_and_options)
        if not 0 <= noise < math.inf:
            raise ValueError(f"noise is {noise}, expected at least 0 and finite")
        self.noise = noise
        self.weight = normal_parameter(self.num_experts, self.hidden_size)

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """W x + ε, (…, D) -> (…, E)."""
        logits = F.linear(as_parameter_dtype(hidden_states, self.weight), self.weight)
        return logits + self._draw(logits) if self.training else logits

    def unmasked_logits(self, hidden_states: Tensor) -> Tensor:
        """W x, (T, D) -> (T, E): a router is fitted without its noise."""
        tokens = as_parameter_dtype(self.flatten(hidden_states), self.weight)
        return at_least_float32(F.linear(tokens, self.weight))

    def _draw(self, logits: Tensor) -> Tensor:
        drawn = torch.randn(logits.shape, dtype=torch.float32, device=logits.device)
        return (drawn * (self.noise / self.num_experts)).to(logits.dtype)

    def reference(self, hidden_states: Tensor) -> list[TokenReference]:
        """The rule on each token's logits in float64, with noise that is drawn for the batch as the router draws it."""
        noise = hidden_states.new_zeros(len(hidden_states), self.num_experts)
        noise = self._draw(noise) if self.training else noise
        return [
            reference_selection(
                self.selection, self.weight @ token + drawn, self.top_k, self.selection_bias, self.expert_scale
            )
            for token, drawn in zip(hidden_states, noise, strict=True)
        ]
