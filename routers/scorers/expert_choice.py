"""Expert-choice router. Axes: T tokens, D hidden size, E experts, K experts per token, C tokens per expert."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from routers.logit_router import LogitRouter
from routers.parameters import normal_parameter
from routers.precision import as_parameter_dtype
from routers.reference.routing import ReferenceRouting
from routers.registry import register_router
from routers.routing import ExpertChoice, Routing, expert_softmax
from routers.routing.capacity import Capacity
from routers.routing.mask import flat_mask


@register_router("expert_choice")
class ExpertChoiceRouter(LogitRouter):
    """p = softmax(W x); each expert takes the C = ⌈K·T/E⌉ tokens of which it has the largest p, and weighs them by it.

    Zhou et al. 2022, "Mixture-of-Experts with Expert Choice Routing", section 3.2. The load is even by definition, with
    as much work as K experts for each token, and so K is the average; what a token gets depends on the others of its
    batch, later ones too, so that it suits no autoregressive decoder. No selection rule has a say, weights are not
    normalised, and there is no selection of a token's for `straight_through` to pass. D·E parameters.

    Args:
        **sizes_and_options: see `Router`.
    """

    is_token_choice = False
    measured_by_default = False
    selects_by_itself = True
    one_row_per_expert = Capacity.of(1)

    def __init__(self, **sizes_and_options: Any) -> None:
        super().__init__(**sizes_and_options)
        self.weight = normal_parameter(self.num_experts, self.hidden_size)

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """W x, (…, D) -> (…, E)."""
        return F.linear(as_parameter_dtype(hidden_states, self.weight), self.weight)

    def forward(self, hidden_states: Tensor, *, token_ids: Tensor | None = None, mask: Tensor | None = None) -> Routing:
        """Route a batch, see `Router.forward`; padding is chosen by none, and is not among the T of C."""
        logits = self.checked_logits(hidden_states)
        mask, num_tokens = flat_mask(mask, hidden_states.shape), logits.shape[0]
        probs = expert_softmax(logits)
        by_expert = (probs if mask is None else probs.where(mask.unsqueeze(1), -1.0)).t()
        most = self.one_row_per_expert.rows(self.top_k * num_tokens, self.num_experts)
        # Not topk: of tokens that are alike the earlier are taken, in every run.
        weights, chosen = (ordered[:, :most] for ordered in by_expert.sort(dim=1, descending=True, stable=True))
        kept = None
        if mask is not None:
            places = torch.arange(most, device=mask.device)
            kept = places < self.one_row_per_expert.rows(self.top_k * mask.sum(), self.num_experts)
            kept = kept.expand_as(chosen)
            weights = weights.where(kept, 0.0)
        return ExpertChoice(
            self.num_experts,
            probs=probs,
            logits=logits,
            mask=mask,
            num_tokens=num_tokens,
            chosen_tokens=chosen,
            routing_weights=weights,
            kept=kept,
        )

    def reference(self, hidden_states: Tensor) -> ReferenceRouting:
        """Token by token and expert by expert, in float64, with Python's own sort."""
        num_tokens, num_experts = len(hidden_states), self.num_experts
        probs = []
        for token in hidden_states:
            exponentials = torch.exp(self.weight @ token - (self.weight @ token).max().detach())
            probs.append(exponentials / exponentials.sum())
        most = -(-self.top_k * num_tokens // num_experts)
        rows, margin = [], [math.inf] * num_tokens
        for expert in range(num_experts):
            values = [float(token[expert].detach()) for token in probs]
            order = sorted(range(num_tokens), key=lambda t, values=values: (-values[t], t))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            taken, left = order[:most], order[most:]
            rows += [(token, expert) for token in taken]
            for place, token in enumerate(order if left else ()):
                limit = values[left[0] if place < most else taken[-1]]
                margin[token] = min(margin[token], abs(values[token] - limit))
        one_hot = torch.eye(num_tokens, dtype=hidden_states.dtype)
        dispatch = one_hot[[token for token, _ in rows]]
        columns = [probs[token][expert] * one_hot[token] for token, expert in rows]
        combine = torch.stack(columns, dim=1) if columns else hidden_states.new_zeros(num_tokens, 0)
        simplex = torch.stack(probs) if probs else hidden_states.new_zeros(0, num_experts)
        experts = [expert for _, expert in rows]
        return ReferenceRouting(simplex, dispatch, experts, combine, torch.tensor(margin, dtype=torch.float64))
