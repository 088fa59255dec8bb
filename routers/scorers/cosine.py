"""Cosine router. Axes: T tokens, D hidden size, E experts, Q projected size."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routers.logit_router import LogitRouter
from routers.parameters import normal_linear, normal_parameter
from routers.precision import as_parameter_dtype
from routers.registry import register_router


@register_router("cosine")
class CosineRouter(LogitRouter):
    """ℓ_e = cos(P x, c_e)/τ: the token is projected to few dimensions, where only directions count; τ is learned.

    Chi et al. 2022, "On the Representation Collapse of Sparse Mixture of Experts" (X-MoE), section 3.2: Q = E/2 and
    τ = 0.07 at first. Here log τ is the parameter, so that τ stays above 0. D·Q + E·Q + 1 parameters.

    Args:
        projected_size: Q; E/2, and at least 2, unless given.
        temperature: τ at first.
        **sizes_and_options: see `Router`.

    Raises:
        ValueError: a projected size below 1, or a temperature that is not finite and above 0.
    """

    measured_by_default = False

    def __init__(
        self, *, projected_size: int | None = None, temperature: float = 0.07, **sizes_and_options: Any
    ) -> None:
        super().__init__(**sizes_and_options)
        size = max(2, self.num_experts // 2) if projected_size is None else projected_size
        if size < 1:
            raise ValueError(f"projected_size is {size}, expected at least 1")
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature is {temperature}, expected a finite number above 0")
        self.projection = normal_linear(self.hidden_size, size, bias=False)
        self.centres = normal_parameter(self.num_experts, size)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """(…, D) -> (…, E)."""
        projected = self.projection(as_parameter_dtype(hidden_states, self.centres))
        if self.check_finite:
            self.refuse_overflow("a projection's length is", projected.norm(dim=-1, keepdim=True).reshape(-1, 1))
        centres = F.normalize(self.centres, dim=-1) / self.log_temperature.exp()
        return F.linear(F.normalize(projected, dim=-1), centres)
