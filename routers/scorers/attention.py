"""Attention router, equations (2), (3) and (19). Axes: T tokens, D hidden size, E experts, Q query size."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from routers.base import Router
from routers.logit_router import LogitRouter
from routers.parameters import normal_linear, normal_parameter
from routers.precision import as_parameter_dtype
from routers.products import expert_product
from routers.registry import register_router
from routers.routing import Routing
from routers.scorers.fused_attention import KERNELS, attention_probabilities, choose_kernel

BACKENDS = ("plain", "fused", *KERNELS)
LEAST_LENGTH = 1e-12
"""What a query's length counts as at least, as in `torch.nn.functional.normalize`."""


@register_router("attention")
class AttentionRouter(LogitRouter):
    """Tokens are queries, experts are learned keys: p = softmax(q̂ k̂ᵀ / (√Q · temperature)), q̂ and k̂ of unit length.

    Unit lengths bound the logits by 1/(√Q · temperature), so that at temperature 1 the routing is almost uniform
    whatever the input: the paper's entropy of 2.0793 against ln 8 = 2.0794.

    D·Q + E·Q parameters.

    Args:
        query_size: Q, 64 in the paper.
        temperature: fixed, not learned.
        backend: "plain", the formula, selects on logits. The others take the probabilities from an attention kernel
            whose values are the identity, and select on those: "flash3" is FlashAttention-3's of fa3-fwd, which has no
            backward pass, "flash" flash-attn's, "torch_flash" torch's own FlashAttention, "sdpa" whatever torch chooses
            in float32, "fused" the first of these that can serve the router where it lies. The first three round to
            half precision: experts whose probabilities are closer than `tolerance` may change places.
        **sizes_and_options: see `Router`.
    """

    def __init__(
        self, *, query_size: int = 64, temperature: float = 1.0, backend: str = "plain", **sizes_and_options: Any
    ) -> None:
        super().__init__(**sizes_and_options)
        if query_size < 1 or temperature <= 0:
            raise ValueError(f"query_size is {query_size} and temperature {temperature}, expected both above 0")
        self.query_size = query_size
        self.temperature = temperature
        self.query_proj = normal_linear(self.hidden_size, query_size, bias=False)
        self.expert_keys = normal_parameter(self.num_experts, query_size)
        if backend not in BACKENDS:
            raise ValueError(f"unknown attention backend {backend!r}; there are: {', '.join(BACKENDS)}")
        self._backend = backend

    @property
    def backend(self) -> str:
        """What computes the probabilities where the router lies now: "plain" or a name of `KERNELS`.

        Raises:
            ValueError: the backend that was asked for cannot, and why.
        """
        return "plain" if self._backend == "plain" else choose_kernel(self._backend, self.expert_keys)

    @property
    def tolerance(self) -> float:
        """How far the backend's probabilities may be from the formula's in float64."""
        return 1e-5 if self._backend == "plain" else KERNELS[self.backend].tolerance

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """Scaled cosine of query and key, (…, D) -> (…, E)."""
        queries = self._queries(hidden_states)
        # The lengths divide E products of a token and not its Q values: the same, and less work.
        lengths = torch.linalg.vector_norm(queries, dim=-1, keepdim=True).clamp_min(LEAST_LENGTH)
        scales: Tensor = self._scale / lengths
        return expert_product(queries, F.normalize(self.expert_keys, dim=-1)) * scales

    def compute_router_probabilities(self, hidden_states: Tensor) -> Tensor:
        """Softmax of the logits, (…, D) -> (…, E)."""
        if self._backend == "plain":
            return super().compute_router_probabilities(hidden_states)
        return attention_probabilities(*self._queries_and_keys(hidden_states), self.backend)

    def forward(self, hidden_states: Tensor, *, token_ids: Tensor | None = None, mask: Tensor | None = None) -> Routing:
        """Route a batch, see `Router.forward`; a kernel gives no logits, so that selection is on its probabilities."""
        if self._backend == "plain":
            return super().forward(hidden_states, token_ids=token_ids, mask=mask)
        # The ignored type is its decorator's.
        return Router.forward(self, hidden_states, token_ids=token_ids, mask=mask)  # type: ignore[no-any-return]

    def _queries_and_keys(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """(…, D) -> (…, Q) of unit length and (E, Q) with the scale."""
        queries = self._queries(hidden_states)
        return F.normalize(queries, dim=-1), F.normalize(self.expert_keys, dim=-1) * self._scale

    def _queries(self, hidden_states: Tensor) -> Tensor:
        """(…, D) -> (…, Q)."""
        queries: Tensor = self.query_proj(as_parameter_dtype(hidden_states, self.expert_keys))
        if self.check_finite:
            # A length that overflows makes the query 0 and the routing uniform, which no later check could tell.
            self.refuse_overflow("a query's length is", queries.norm(dim=-1, keepdim=True).reshape(-1, 1))
        return queries

    @property
    def _scale(self) -> float:
        return 1 / (math.sqrt(self.query_size) * self.temperature)


class FusedAttentionRouter(AttentionRouter):
    """The attention router through a fused kernel, for benchmarks.

    `pytest bench --router routers.scorers.attention:FusedAttentionRouter` measures it beside the plain one. It is not
    registered, so that other tables do not have the same router twice.
    """

    def __init__(self, *, backend: str = "fused", **sizes_and_options: Any) -> None:
        super().__init__(backend=backend, **sizes_and_options)
