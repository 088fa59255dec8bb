"""ReMoE's adaptive L1: it makes a ReLU router sparse and evens out its load.

Axes: T tokens, E experts, K experts per token that are aimed at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from routers.balancing.balancer import Balancer
from routers.balancing.batch_loss import counted_loss
from routers.balancing.registry import register_balancer
from routers.balancing.tally import Tally

INITIAL_COEFFICIENT, MULTIPLIER = 1e-8, 1.2
"""λ_0 and α of Wang et al. 2025."""


def relu_l1_loss(router_scores: Tensor, top_k: int, mask: Tensor | None = None) -> Tensor:
    """(1/T) Σ_t Σ_e f_e R_te with f_e = E/(K·T) n_e and n_e the tokens with R_te > 0: ().

    Wang et al. 2025 (ReMoE, arXiv 2412.14711), the L1 with load balancing, without λ: an expert that is active too
    often is pressed down more. f has no gradient. At balance with K active experts a token f = 1, and the loss is the
    mean of a token's Σ R.

    Args:
        router_scores: (T, E), R, or what it is the ReLU of.
        top_k: K, the number of active experts a token that is aimed at.
        mask: (T,), True or 1 where a token counts; None where every one does.
    """
    active = router_scores.clamp_min(0)
    active = active if mask is None else active[mask.bool()]
    counts, tokens = (active > 0).sum(dim=0), max(len(active), 1)
    num_experts = active.shape[-1]
    return (num_experts / (top_k * tokens) * counts * active.sum(dim=0) / tokens).sum()


def next_coefficient(coefficient: float, sparsity: float, target: float, multiplier: float = MULTIPLIER) -> float:
    """λ · α^sign(target − S): up where the router is less sparse than it should be, down where it is more."""
    error = target - sparsity
    return coefficient * multiplier ** ((error > 0) - (error < 0))


@register_balancer("relu_l1")
class ReluL1Balancer(Balancer):
    """λ times the L1 of the scores, mean over the routers; λ follows the sparsity of all of them together.

    For routers that take every expert whose score is above 0 (the rule relu with K = E slots). S is the share of
    token-expert pairs of a step that are not active, over its batches and processes; its target is 1 − K/E. λ is in the
    loss.

    Args:
        routers: with scores that may be 0.
        top_k: K, the mean number of active experts a token that is aimed at; each router's own K if None.
        coefficient: λ at first.
        multiplier: α.
        **shared: see `Balancer`.

    Raises:
        ValueError: a coefficient that is not above 0, a multiplier that is not above 1, a top_k below 1, or a
            router that selects by another rule or has not a slot for each expert.
    """

    weighs_itself = True
    slots_for_all = True
    rule_fields = MappingProxyType(
        {"score_function": "relu", "how_many": "threshold", "limit": 0.0, "norm_topk_prob": False}
    )

    def __init__(
        self,
        routers: Mapping[str, nn.Module],
        *,
        top_k: int | None = None,
        coefficient: float = INITIAL_COEFFICIENT,
        multiplier: float = MULTIPLIER,
        **shared: Any,
    ) -> None:
        super().__init__(routers, **shared)
        self._top_k: dict[str, int] = {}
        if not 0 < coefficient < math.inf:
            raise ValueError(f"coefficient is {coefficient}, expected above 0 and finite")
        if not 1 < multiplier < math.inf:
            raise ValueError(f"multiplier is {multiplier}, expected above 1 and finite")
        for name, router in self.routers.items():
            scores = getattr(getattr(router, "selection", None), "score_function", None)
            if scores != "relu":
                raise ValueError(
                    f"router {name!r} ({type(router).__name__}) has scores that are never 0 ({scores}), which the L1 "
                    "cannot make sparse; select by the rule relu"
                )
            aim = getattr(router, "top_k", None) if top_k is None else top_k
            if not isinstance(aim, int) or aim < 1:
                raise ValueError(f"top_k of router {name!r} is {aim}, expected at least 1")
            slots, experts = (getattr(router, size, aim) for size in ("top_k", "num_experts"))
            if slots < experts:
                raise ValueError(
                    f"router {name!r} has {slots} slots for {experts} experts, expected one for each: what it has no "
                    "slot for would pass for sparse"
                )
            self._top_k[name] = aim
        self.multiplier = multiplier
        self.coefficient = torch.tensor(coefficient, dtype=torch.float64)
        self._active = self._pairs = self._wanted = 0

    def router_loss(self, counted: Tally) -> Tensor:
        """The loss of one router, (), with λ."""
        scores = counted.counting.router_scores.clamp_min(0)
        counts, top_k = counted.tokens_per_expert, self._top_k[counted.name]
        tokens, num_experts = int(counted.tokens), len(counts)
        self._active += int(counts.sum())
        self._pairs += tokens * num_experts
        self._wanted += tokens * top_k
        # f_e = E n_e/(K·T) is counted_loss's E n_e/Σn times Σn/(K·T): how many are active over how many should be.
        excess = int(counts.sum()) / max(top_k * tokens, 1)
        return float(self.coefficient) * excess * counted_loss(counts, scores, counted.share)

    def change(self) -> None:
        """Move λ by the step's sparsity; a step that noted nothing does not move it."""
        if self._pairs:
            sparsity, target = 1 - self._active / self._pairs, 1 - self._wanted / self._pairs
            self.coefficient.fill_(next_coefficient(float(self.coefficient), sparsity, target, self.multiplier))

    def begin(self) -> None:
        """Begin the counts anew."""
        self._active = self._pairs = self._wanted = 0

    def state(self) -> dict[str, Tensor]:
        """λ."""
        return {"coefficient": self.coefficient}
