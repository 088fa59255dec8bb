"""Linear router on a normalised token. Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routers.logit_router import LogitRouter
from routers.parameters import normal_parameter
from routers.precision import as_parameter_dtype, at_least_float32
from routers.registry import register_router


@register_router("normed_linear")
class NormedLinearRouter(LogitRouter):
    """ℓ = W (g ⊙ x̂)/√D with x̂ = x/√(mean x² + ε): a token's size has no say, and features are weighed by g.

    Gemma 4's router, with `selection="gemma4"`, which has a learned factor for each expert besides. D·E + D parameters.

    Args:
        epsilon: ε.
        **sizes_and_options: see `Router`.

    Raises:
        ValueError: an epsilon that is below 0 or not finite.
    """

    measured_by_default = False

    def __init__(self, *, epsilon: float = 1e-6, **sizes_and_options: Any) -> None:
        super().__init__(**sizes_and_options)
        if not 0 <= epsilon < math.inf:
            raise ValueError(f"epsilon is {epsilon}, expected a finite number of at least 0")
        self.epsilon = epsilon
        self.weight = normal_parameter(self.num_experts, self.hidden_size)
        self.scale = nn.Parameter(torch.ones(self.hidden_size))

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """(…, D) -> (…, E)."""
        tokens = at_least_float32(as_parameter_dtype(hidden_states, self.weight))
        normed = F.rms_norm(tokens, (self.hidden_size,), eps=self.epsilon).to(self.weight.dtype)
        return F.linear(normed * self.scale / math.sqrt(self.hidden_size), self.weight)
