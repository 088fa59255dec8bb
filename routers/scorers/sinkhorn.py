"""Sinkhorn router. Axes: T tokens, D hidden size, E experts, K experts per token."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from routers.logit_router import LogitRouter
from routers.parameters import normal_parameter
from routers.precision import as_parameter_dtype
from routers.reference.routing import TokenReference
from routers.registry import register_router
from routers.routing import Routing, StraightThrough, TokenChoice
from routers.routing.mask import flat_mask

TINY = 1e-8
"""Added to sums that are divided by, as Megatron-LM does."""


@register_router("sinkhorn")
class SinkhornRouter(LogitRouter):
    """ℓ = W x; while it trains the K best of a plan that is even over experts, in evaluation the K best of ℓ.

    Clark et al. 2022, "Unified Scaling Laws for Routed Language Models", section 3.2.1 (S-BASE), in the form of
    Megatron-LM's `sinkhorn`: the plan is d_t · e^ℓ · d_e, whose factors make rows and columns sum to the same in turn.
    It has a say in the selection alone and has no gradient; weights are the probabilities of ℓ (with K = 1 the sigmoid
    of ℓ, as there), which are not normalised. Megatron-LM goes on until the factors move by less than 1e-4; here the
    number of steps is fixed, so that a graph can hold it. While it trains a token's experts depend on its batch, and
    of tokens that are all alike, as of a single one, the plan is even and says nothing. No
    selection rule has a say. D·E parameters.

    Args:
        steps: of the iteration; after none, training selects as evaluation does.
        norm_topk_prob: divide the K weights by their sum.
        **sizes_and_options: see `Router`.

    Raises:
        ValueError: a number of steps below 0.
    """

    measured_by_default = False
    selects_by_itself = True

    def __init__(self, *, steps: int = 20, norm_topk_prob: bool = False, **sizes_and_options: Any) -> None:
        super().__init__(norm_topk_prob=norm_topk_prob, **sizes_and_options)
        if steps < 0:
            raise ValueError(f"steps is {steps}, expected at least 0")
        self.steps = steps
        self.weight = normal_parameter(self.num_experts, self.hidden_size)

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """W x, (…, D) -> (…, E)."""
        return F.linear(as_parameter_dtype(hidden_states, self.weight), self.weight)

    def forward(self, hidden_states: Tensor, *, token_ids: Tensor | None = None, mask: Tensor | None = None) -> Routing:
        """Route a batch, see `Router.forward`; padding has no part in the plan."""
        logits = self.checked_logits(hidden_states)
        mask = flat_mask(mask, hidden_states.shape)
        ranked = self.plan(logits, mask) if self.training else logits
        selected = ranked.topk(self.top_k, dim=-1).indices
        chosen = logits.gather(1, selected)
        weights = chosen.sigmoid() if self.top_k == 1 else (chosen - logits.logsumexp(dim=-1, keepdim=True)).exp()
        if self.norm_topk_prob:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        kind = StraightThrough if self.straight_through else TokenChoice
        routing = kind(
            self.num_experts, logits=logits, ranks=ranked, selected_experts=selected, routing_weights=weights
        )
        return routing.masked(mask)

    @torch.no_grad()
    def plan(self, logits: Tensor, mask: Tensor | None = None) -> Tensor:
        """What training ranks, (T, E) -> (T, E): the logarithm of the plan, which has its order."""
        cost = (logits - logits.amax(dim=-1, keepdim=True)).exp()  # a factor of a token's, which d_t takes up
        if mask is not None:
            cost = cost.where(mask.unsqueeze(1), 0.0)
        of_experts = cost.new_ones(self.num_experts)
        for _ in range(self.steps):
            of_tokens = 1 / ((cost * of_experts).sum(dim=1) + TINY)
            of_experts = 1 / (self.num_experts * ((of_tokens.unsqueeze(1) * cost).sum(dim=0) + TINY))
        return logits + of_experts.log()

    def reference(self, hidden_states: Tensor) -> list[TokenReference]:
        """The plan in Python floats, then token by token in float64."""
        logits = [self.weight @ token for token in hidden_states]
        values = [row.tolist() for row in logits]
        factors = [1.0] * self.num_experts
        for _ in range(self.steps if self.training else 0):
            cost = [[math.exp(v - max(row)) for v in row] for row in values]
            sums = [sum(c * f for c, f in zip(row, factors, strict=True)) + TINY for row in cost]
            columns = [sum(row[e] / total for row, total in zip(cost, sums, strict=True)) for e in range(len(factors))]
            factors = [1 / (len(factors) * (column + TINY)) for column in columns]
        tokens = []
        for row, exact in zip(values, logits, strict=True):
            ranked = [v + math.log(f) for v, f in zip(row, factors, strict=True)]
            order = sorted(range(len(ranked)), key=lambda e: -ranked[e])
            probs = torch.exp(exact - exact.max().detach())
            probs = probs / probs.sum()
            selected = order[: self.top_k]
            weights = [1 / (1 + torch.exp(-exact[e])) if self.top_k == 1 else probs[e] for e in selected]
            if self.norm_topk_prob:
                total = sum(weights, start=probs.new_zeros(()))
                weights = [weight / total for weight in weights]
            last, first = (*order[self.top_k - 1 : self.top_k + 1], order[-1])[:2]
            margin = ranked[last] - ranked[first] if self.top_k < len(order) else math.inf
            tokens.append(TokenReference(probs, selected, weights, ranked=exact.new_tensor(ranked), margin=margin))
        return tokens
