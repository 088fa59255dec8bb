"""MLP router, equations (4) and (5). Axes: T tokens, D hidden size, E experts, M width."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from routers.logit_router import LogitRouter
from routers.parameters import normal_linear
from routers.precision import as_parameter_dtype
from routers.products import expert_product, in_blocks
from routers.registry import register_router


@register_router("mlp")
class MLPRouter(LogitRouter):
    """h = GELU(W₁ x̂ + b₁), p = softmax(W₂ h + b₂), x̂ = LayerNorm(x), whose scale and shift belong to the router.

    2·D + D·M + M + M·E + E parameters.

    Args:
        width: M, 128 in the paper.
        **sizes_and_options: see `Router`.
    """

    def __init__(self, *, width: int = 128, **sizes_and_options: Any) -> None:
        super().__init__(**sizes_and_options)
        if width < 1:
            raise ValueError(f"width is {width}, expected at least 1")
        self.norm = nn.LayerNorm(self.hidden_size)
        self.hidden_proj = normal_linear(self.hidden_size, width, bias=True)
        self.logit_proj = normal_linear(width, self.num_experts, bias=True)

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """(…, D) -> (…, E)."""
        return in_blocks(self._block_logits, hidden_states)

    def _block_logits(self, hidden_states: Tensor) -> Tensor:
        normed = self.norm(as_parameter_dtype(hidden_states, self.norm.weight))
        return expert_product(F.gelu(self.hidden_proj(normed)), self.logit_proj.weight, self.logit_proj.bias)
