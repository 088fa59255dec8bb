"""Switch router. Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from routers.logit_router import LogitRouter
from routers.parameters import normal_parameter
from routers.precision import as_parameter_dtype
from routers.reference.routing import TokenReference
from routers.registry import register_router
from routers.routing import Routing
from routers.routing.capacity import Capacity


@register_router("switch")
class SwitchRouter(LogitRouter):
    """p = softmax(W x); the expert of the largest p, weighed by it, unless the expert is full.

    Fedus et al. 2021, "Switch Transformers", section 2.1 and 2.2. One expert is selected whatever `top_k` (which is
    checked and then 1), and its weight is not normalised, so that the router learns from the task. An expert takes the
    first ⌈capacity_factor · T/E⌉ tokens that want it; the others have an output of 0 and keep their residual. What the
    authors call jitter, a random factor on the input, is not in here. D·E parameters.

    Args:
        capacity_factor: 1.25 as the authors train; they evaluate with 2.
        norm_topk_prob: True makes every weight 1.
        **sizes_and_options: see `Router`.

    Raises:
        ValueError: a capacity factor that is not finite and above 0.
    """

    measured_by_default = False
    selects_by_itself = True

    def __init__(
        self, *, capacity_factor: float = 1.25, norm_topk_prob: bool = False, **sizes_and_options: Any
    ) -> None:
        super().__init__(norm_topk_prob=norm_topk_prob, **sizes_and_options)
        self.top_k = 1
        self.capacity = Capacity.of(capacity_factor)
        self.weight = normal_parameter(self.num_experts, self.hidden_size)

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """W x, (…, D) -> (…, E)."""
        return F.linear(as_parameter_dtype(hidden_states, self.weight), self.weight)

    def forward(self, hidden_states: Tensor, *, token_ids: Tensor | None = None, mask: Tensor | None = None) -> Routing:
        """Route a batch, see `Router.forward`; what an expert has no room for is not kept."""
        routing: Routing = super().forward(hidden_states, token_ids=token_ids, mask=mask)
        return routing.with_capacity(self.capacity)

    def reference(self, hidden_states: Tensor) -> list[TokenReference]:
        """Token by token in float64, each expert's room counted down."""
        capacity = self.capacity.rows(len(hidden_states), self.num_experts)
        room = [capacity] * self.num_experts
        tokens = []
        for token in hidden_states:
            logits = self.weight @ token
            exponentials = torch.exp(logits - logits.max().detach())
            probs = exponentials / exponentials.sum()
            values = probs.tolist()
            best, other = sorted(range(len(values)), key=lambda e: -values[e])[0], sorted(values)[-2:][0]
            room[best] -= 1
            weight = probs[best] / probs[best] if self.norm_topk_prob else probs[best]
            taken = room[best] >= 0
            tokens.append(
                TokenReference(
                    probs,
                    [best] if taken else [],
                    [weight] if taken else [],
                    margin=values[best] - other if len(values) > 1 else 1.0,
                )
            )
        return tokens
