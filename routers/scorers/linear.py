"""Linear router, equation (1). Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.compiler import is_compiling

from routers.logit_router import LogitRouter
from routers.parameters import normal_parameter
from routers.precision import as_parameter_dtype, autocast_is_on, heeds_autocast
from routers.products import SEVERAL_TOKENS, expert_product
from routers.registry import register_router
from routers.routing import Routing, TokenChoice
from routers.selection.paths import EAGER, may_take


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

    @heeds_autocast
    def forward(self, hidden_states: Tensor, *, token_ids: Tensor | None = None, mask: Tensor | None = None) -> Routing:
        """Route a batch, see `Router.forward`.

        While a language model decodes there are few tokens, and what Python does between three of torch's operators
        takes as long as they do. Of the softmax, in float32 on a CPU, they are therefore called one after the other.
        """
        # `self.weight` takes half a microsecond. It may be no parameter: pruned, or parametrised.
        weight = self._parameters.get("weight")
        if mask is None and weight is not None and self._is_plain_softmax_of_few(hidden_states, weight):
            logits = F.linear(hidden_states, weight, self.bias)
            top_logits, selected = logits.topk(self.top_k)
            # As in `Router.select`.
            if self.selection.norm_topk_prob:
                weights = torch.softmax(top_logits, -1)
            else:
                weights = torch.softmax(logits, -1).gather(-1, selected)
            return TokenChoice.of(
                num_experts=self.num_experts, selected_experts=selected, routing_weights=weights, logits=logits
            )
        return super().forward(hidden_states, token_ids=token_ids, mask=mask)

    def _is_plain_softmax_of_few(self, hidden_states: Tensor, weight: Tensor) -> bool:
        """Nothing of what a routing can be besides is asked for."""
        if is_compiling():  # first: a graph takes any number of tokens
            return False
        shape, rule = hidden_states.shape, self.selection
        return (
            len(shape) == 2
            and shape[0] < SEVERAL_TOKENS
            and shape[1] == self.hidden_size
            and type(self) is LinearRouter
            and rule.is_softmax_top_k
            and rule.scale == 1.0
            and hidden_states.is_cpu
            and hidden_states.dtype is weight.dtype is torch.float32
            and not (self.straight_through or self.check_finite)
            and not (torch.is_grad_enabled() or autocast_is_on())
            and may_take(EAGER)
        )

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """W x + b, (…, D) -> (…, E)."""
        weight = self.weight
        return expert_product(as_parameter_dtype(hidden_states, weight), weight, self.bias)
