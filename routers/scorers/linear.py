"""Linear router, equation (1). Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from routers.logit_router import LogitRouter
from routers.parameters import normal_parameter
from routers.precision import as_parameter_dtype
from routers.products import expert_product
from routers.registry import register_router


@register_router("linear")
class LinearRouter(LogitRouter):
    """p = softmax(W x): one inner product per expert, the router of most MoE models and the baseline here.

    D·E parameters, and E more with a bias.

    Args:
        bias: add b to the logits; off by default.
        **sizes_and_options: see `Router`.
    """

    def __init__(self, *, bias: bool = False, **sizes_and_options: Any) -> None:
        super().__init__(**sizes_and_options)
        self.weight = normal_parameter(self.num_experts, self.hidden_size)
        self.bias = nn.Parameter(torch.zeros(self.num_experts)) if bias else None

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """W x + b, (…, D) -> (…, E)."""
        weight = self.weight  # once: a module looks a parameter up in half a microsecond
        return expert_product(as_parameter_dtype(hidden_states, weight), weight, self.bias)
