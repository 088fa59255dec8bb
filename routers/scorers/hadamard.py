"""Hadamard routers without parameters, section V. Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from routers.logit_router import LogitRouter
from routers.precision import as_parameter_dtype, at_least_float32
from routers.products import expert_product, in_blocks
from routers.registry import register_router
from routers.scorers.hadamard_matrix import hadamard_rows


@register_router("hadamard")
class HadamardRouter(LogitRouter):
    """Fixed orthogonal directions instead of learned ones; K experts kept per token.

    Logits are the rows 1 … E of a Hadamard matrix applied to x̂ = LayerNorm(x), over √D. Row 0 is left out: it is all
    ones, and its product with a normalised token is 0.

    Args:
        constrained: False gives the paper's first design: rows 0 … E−1 on the raw x, and no limit on the number of
            experts (`top_k` becomes E). Row 0 sums the features, so that input with a common offset collapses onto
            expert 0, as the authors saw.
        **sizes_and_options: see `Router`.

    Raises:
        ValueError: fewer than E (+ 1 if constrained) rows, that is, about E >= D.
    """

    rows: Tensor

    def __init__(self, *, constrained: bool = True, **sizes_and_options: Any) -> None:
        super().__init__(**sizes_and_options)
        if not constrained:
            self.top_k = self.num_experts
            self.selection.check_sizes(self.num_experts, self.top_k)
        self.constrained = constrained
        rows = hadamard_rows(self.hidden_size, first=int(constrained), count=self.num_experts)
        # Computed anew from the sizes, so it is no part of the state that is saved.
        self.register_buffer("rows", rows, persistent=False)

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """(…, D) -> (…, E)."""
        tokens = as_parameter_dtype(hidden_states, self.rows)
        products = in_blocks(self._normed_products, tokens) if self.constrained else expert_product(tokens, self.rows)
        return at_least_float32(products) / math.sqrt(self.hidden_size)

    def _normed_products(self, tokens: Tensor) -> Tensor:
        return expert_product(F.layer_norm(tokens, (self.hidden_size,)), self.rows)


@register_router("hadamard_unconstrained")
class UnconstrainedHadamardRouter(HadamardRouter):
    """The paper's first design under a name of its own, so that every table and figure shows its collapse."""

    def __init__(self, **sizes_and_options: Any) -> None:
        super().__init__(constrained=False, **sizes_and_options)
