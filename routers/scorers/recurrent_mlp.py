"""MLP router with a state that goes through the layers. Axes: T tokens, D hidden size, E experts, R width."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routers.logit_router import LogitRouter
from routers.parameters import normal_linear
from routers.precision import as_parameter_dtype, at_least_float32
from routers.registry import register_router
from routers.routing import Routing
from routers.routing.mask import flat_mask


@register_router("recurrent_mlp")
class RecurrentMLPRouter(LogitRouter):
    """h = P x + p + g ⊙ h', with h' the state of the layer before; ℓ = W₃ GELU(W₂ GELU(W₁ ĥ + b₁) + b₂).

    ĥ is RMSNorm(h), with a scale for each feature. Zaya's router, with `selection="zaya"`, E + 1 experts of which the
    last is a zero of `ZeroComputationExperts`, and a `selection_bias` that begins at −1 for that one. The first layer
    has none before it. D·R + 2·R² + R·E + 4·R parameters, and R more after another layer.

    Args:
        width: R; D/8 unless given, as of Zaya's 256 and 2048.
        after_another: there is a layer before this one; each call then takes its state.
        epsilon: of the normalisation.
        **sizes_and_options: see `Router`.

    Raises:
        ValueError: a width below 1, or an epsilon that is below 0 or not finite.
    """

    measured_by_default = False

    def __init__(
        self, *, width: int | None = None, after_another: bool = False, epsilon: float = 1e-5, **sizes_and_options: Any
    ) -> None:
        super().__init__(**sizes_and_options)
        width = max(1, self.hidden_size // 8) if width is None else width
        if width < 1:
            raise ValueError(f"width is {width}, expected at least 1")
        if not 0 <= epsilon < math.inf:
            raise ValueError(f"epsilon is {epsilon}, expected a finite number of at least 0")
        self.epsilon = epsilon
        self.state_proj = normal_linear(self.hidden_size, width, bias=True)
        self.state_scale = nn.Parameter(torch.ones(width)) if after_another else None
        self.norm_weight = nn.Parameter(torch.ones(width))
        self.first_proj = normal_linear(width, width, bias=True)
        self.second_proj = normal_linear(width, width, bias=True)
        self.logit_proj = normal_linear(width, self.num_experts, bias=False)

    @property
    def layer_options(self) -> tuple[str, ...]:
        """As of every router; and a language model's gate is not given another layer's state."""
        return (*super().layer_options, *(() if self.state_scale is None else ("after_another",)))

    def compute_state(self, hidden_states: Tensor, previous_state: Tensor | None = None) -> Tensor:
        """The state that the next layer takes, (…, D) and (…, R) -> (…, R).

        Raises:
            ValueError: no state after another layer, one of another shape, or one where there is no layer before.
        """
        state: Tensor = self.state_proj(as_parameter_dtype(hidden_states, self.norm_weight))
        found = None if previous_state is None else tuple(previous_state.shape)
        expected = None if self.state_scale is None else tuple(state.shape)
        if found != expected:
            raise ValueError(f"previous_state is {found}, expected {expected}: after_another says which")
        if self.state_scale is not None and previous_state is not None:
            state = state + as_parameter_dtype(previous_state, self.norm_weight) * self.state_scale
        return state

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """Of a first layer, (…, D) -> (…, E)."""
        return self._logits(self.compute_state(hidden_states))

    def _logits(self, state: Tensor) -> Tensor:
        if self.check_finite:
            self.refuse_overflow("a state's length is", state.norm(dim=-1, keepdim=True).reshape(-1, 1))
        normed = F.rms_norm(at_least_float32(state), (state.shape[-1],), eps=self.epsilon).to(state.dtype)
        hidden = F.gelu(self.second_proj(F.gelu(self.first_proj(normed * self.norm_weight))))
        logits: Tensor = self.logit_proj(hidden)
        return logits

    def forward(
        self,
        hidden_states: Tensor,
        *,
        token_ids: Tensor | None = None,
        mask: Tensor | None = None,
        previous_state: Tensor | None = None,
    ) -> Routing:
        """Route a batch, see `Router.forward`; previous_state: (T, R), `compute_state` of the layer before."""
        state = self.compute_state(self.flatten(hidden_states), previous_state)
        logits = self.selection.in_precision(self._logits(state))
        if self.check_finite:
            self.refuse_overflow("the largest logit is", logits.amax(dim=-1, keepdim=True))
        return self.select(logits=logits).masked(flat_mask(mask, hidden_states.shape))
