"""Attention router, equations (2), (3) and (19). Axes: T tokens, D hidden size, E experts, Q query size."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from routers.base import LogitRouter, as_parameter_dtype, normal_linear, normal_parameter
from routers.registry import register_router


@register_router("attention")
class AttentionRouter(LogitRouter):
    """Tokens are queries, experts are learned keys: p = softmax(q̂ k̂ᵀ / (√Q · temperature)), q̂ and k̂ of unit length.

    Unit lengths bound the logits by 1/(√Q · temperature), so that at temperature 1 the routing is almost uniform
    whatever the input: the paper's entropy of 2.0793 against ln 8 = 2.0794.

    D·Q + E·Q parameters.

    Args:
        query_size: Q, 64 in the paper.
        temperature: fixed, not learned.
        **sizes_and_options: see `Router`.
    """

    def __init__(self, *, query_size: int = 64, temperature: float = 1.0, **sizes_and_options: Any) -> None:
        super().__init__(**sizes_and_options)
        if query_size < 1 or temperature <= 0:
            raise ValueError(f"query_size is {query_size} and temperature {temperature}, expected both above 0")
        self.query_size = query_size
        self.temperature = temperature
        self.query_proj = normal_linear(self.hidden_size, query_size, bias=False)
        self.expert_keys = normal_parameter(self.num_experts, query_size)

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """Scaled cosine of query and key, (…, D) -> (…, E)."""
        queries = self.query_proj(as_parameter_dtype(hidden_states, self.expert_keys))
        scale = 1 / (math.sqrt(self.query_size) * self.temperature)
        keys = F.normalize(self.expert_keys, dim=-1) * scale
        return F.linear(F.normalize(queries, dim=-1), keys)
