"""MLP-Hadamard router, equations (6) to (8). Axes: T tokens, D hidden size, E experts, M width."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routers.logit_router import LogitRouter
from routers.parameters import normal_linear
from routers.precision import as_parameter_dtype
from routers.products import expert_product, in_blocks
from routers.registry import register_router
from routers.scorers.hadamard_matrix import hadamard_rows


@register_router("mlp_hadamard")
class MLPHadamardRouter(LogitRouter):
    """An MLP's features multiplied, element by element, with a fixed projection of the token.

    h = GELU(W₁ x̂ + b₁), z = h ⊙ P x̂, p = softmax(W₂ z + b₂). P holds rows 1 … M of a ±1 Hadamard matrix, not divided
    by √D: with the division the sparse routing that the paper reports vanishes. Row 0 would give 0 after a LayerNorm.
    P has no parameter; it is the identity where D <= M, and then M = D.

    2·D + D·M + M + M·E + E parameters.

    Args:
        width: M, 128 in the paper.
        boost: (a, c) replaces the logits ℓ by a·ℓ + c on each token's two largest. With (0.92, 0.59) the paper's
            printed entropy and mean top-k probability are met, but that is a fit of two parameters to two numbers, so
            it is off by default.
        top_k: 2 by default, the paper's limit of two experts per token.
        **sizes_and_options: see `Router`.
    """

    projection: Tensor

    def __init__(
        self, *, width: int = 128, boost: tuple[float, float] | None = None, top_k: int = 2, **sizes_and_options: Any
    ) -> None:
        super().__init__(top_k=top_k, **sizes_and_options)
        if width < 1:
            raise ValueError(f"width is {width}, expected at least 1")
        width = min(width, self.hidden_size)
        self.boost = boost
        self.norm = nn.LayerNorm(self.hidden_size)
        self.hidden_proj = normal_linear(self.hidden_size, width, bias=True)
        self.logit_proj = normal_linear(width, self.num_experts, bias=True)
        identity = width == self.hidden_size
        projection = torch.eye(width) if identity else hadamard_rows(self.hidden_size, first=1, count=width)
        self.register_buffer("projection", projection, persistent=False)

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """(…, D) -> (…, E)."""
        logits = in_blocks(self._block_logits, hidden_states)
        if self.boost is None:
            return logits
        scale, bonus = self.boost
        largest = logits.topk(min(2, self.num_experts), dim=-1).indices
        return scale * logits + torch.zeros_like(logits).scatter(-1, largest, bonus)

    def _block_logits(self, hidden_states: Tensor) -> Tensor:
        normed = self.norm(as_parameter_dtype(hidden_states, self.norm.weight))
        features = F.gelu(self.hidden_proj(normed)) * F.linear(normed, self.projection)
        return expert_product(features, self.logit_proj.weight, self.logit_proj.bias)
