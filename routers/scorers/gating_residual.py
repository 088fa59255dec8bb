"""Router with the logits of the layer before. Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routers.logit_router import LogitRouter
from routers.parameters import normal_parameter
from routers.precision import as_parameter_dtype
from routers.registry import register_router
from routers.routing import Routing
from routers.routing.mask import flat_mask


@register_router("gating_residual")
class GatingResidualRouter(LogitRouter):
    """ℓ = W x + W_g ℓ', with ℓ' the logits of the layer before: a token's path through the layers is one decision.

    Jin et al. 2024, "MoE++" (arXiv 2410.07348), section 3.2, whose experts are `ZeroComputationExperts`. The first
    layer has none before it, and is linear. Here W_g begins at 0, so that the others begin so, too. D·E parameters, and
    E² more after another layer.

    Args:
        after_another: there is a layer before this one; each call then takes its logits.
        **sizes_and_options: see `Router`.
    """

    measured_by_default = False

    def __init__(self, *, after_another: bool = False, **sizes_and_options: Any) -> None:
        super().__init__(**sizes_and_options)
        self.weight = normal_parameter(self.num_experts, self.hidden_size)
        self.residual_weight = nn.Parameter(torch.zeros(self.num_experts, self.num_experts)) if after_another else None

    @property
    def layer_options(self) -> tuple[str, ...]:
        """As of every router; and a language model's gate is not given another layer's logits."""
        return (*super().layer_options, *(() if self.residual_weight is None else ("after_another",)))

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """W x, what there is of the logits without the layer before, (…, D) -> (…, E)."""
        return F.linear(as_parameter_dtype(hidden_states, self.weight), self.weight)

    def forward(
        self,
        hidden_states: Tensor,
        *,
        token_ids: Tensor | None = None,
        mask: Tensor | None = None,
        previous_logits: Tensor | None = None,
    ) -> Routing:
        """Route a batch, see `Router.forward`.

        Args:
            hidden_states: (T, D) or (B, S, D).
            token_ids: are not used.
            mask: see `Router.forward`.
            previous_logits: (T, E), `Routing.router_logits` of the layer before.

        Raises:
            ValueError: no logits after another layer, or logits of another shape, or where there is no layer before.
        """
        tokens = self.flatten(hidden_states)
        logits = self.compute_router_logits(tokens)
        if (self.residual_weight is None) is not (previous_logits is None):
            given = "none" if previous_logits is None else tuple(previous_logits.shape)
            expected = "none" if self.residual_weight is None else tuple(logits.shape)
            raise ValueError(f"previous_logits are {given}, expected {expected}: after_another says which")
        if self.residual_weight is not None and previous_logits is not None:
            if previous_logits.shape != logits.shape:
                raise ValueError(f"previous_logits are {tuple(previous_logits.shape)}, expected {tuple(logits.shape)}")
            logits = logits + F.linear(as_parameter_dtype(previous_logits, self.weight), self.residual_weight)
        if self.check_finite:
            self.refuse_overflow("the largest logit is", logits.amax(dim=-1, keepdim=True))
        return self.select(logits=self.selection.in_precision(logits)).masked(flat_mask(mask, hidden_states.shape))
