"""Hybrid router, section III-B5. Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from routers.base import Router
from routers.registry import register_router
from routers.routing import expert_softmax
from routers.scorers.attention import AttentionRouter
from routers.scorers.linear import LinearRouter


@register_router("hybrid")
class HybridRouter(Router):
    """p = λ₁ p_linear + λ₂ p_attention, λ = softmax(θ), θ learned from zeros.

    Probabilities are mixed, not logits: a mixture keeps the two opinions, a sum of logits multiplies them. The mixture
    has no logits of its own.

    The parameters of both and two more.

    Args:
        query_size: of the attention router.
        temperature: of the attention router.
        **sizes_and_options: see `Router`.
    """

    def __init__(self, *, query_size: int = 64, temperature: float = 1.0, **sizes_and_options: Any) -> None:
        super().__init__(**sizes_and_options)
        passed_on = ("hidden_size", "num_experts", "top_k", "check_finite")
        sizes: dict[str, Any] = {key: value for key, value in sizes_and_options.items() if key in passed_on}
        self.linear = LinearRouter(**sizes)
        self.attention = AttentionRouter(query_size=query_size, temperature=temperature, **sizes)
        self.mixture_logits = nn.Parameter(torch.zeros(2))

    def compute_router_probabilities(self, hidden_states: Tensor) -> Tensor:
        """(…, D) -> (…, E)."""
        linear_share, attention_share = expert_softmax(self.mixture_logits)
        linear = self.linear.compute_router_probabilities(hidden_states)
        attention = self.attention.compute_router_probabilities(hidden_states)
        mixture: Tensor = linear_share * linear + attention_share * attention
        return mixture
