"""What a kernel is told of a rule: numbers, without numba. Axes: E experts, K experts per token, G groups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from routers.selection.rule import SelectionRule
from routers.selection.steps import GROUP_MASKS, RANKINGS

SCORES = {"identity": 0, "softmax": 1, "sigmoid": 2, "sqrt_softplus": 3, "relu": 4}
WEIGHTS = {"scores": 0, "softmax": 1, "sigmoid": 2}
GROUP_SCORES = {"max": 0, "top2_sum": 1}
"""The steps that the kernel has, by the rule's names for them."""

NUMBERS = np.dtype(
    [
        ("num_experts", np.int64),
        ("top_k", np.int64),
        ("score", np.int64),
        ("ranks_scores", np.int64),
        ("num_groups", np.int64),
        ("groups_kept", np.int64),
        ("group_score", np.int64),
        ("weigh", np.int64),
        ("normalise", np.int64),
        ("soft_cap", np.float64),
        ("group_mask", np.float64),
        ("epsilon", np.float64),
        ("least_sum", np.float64),
        ("scale", np.float64),
    ]
)
"""A rule at a size, as a kernel reads it: names of steps are their numbers above, a soft cap of 0 is none."""


@dataclass(frozen=True)
class Plan:
    """A rule at a size.

    Attributes:
        numbers: one record of `NUMBERS`, which has to live as long as its address is used.
        address: where it is.
    """

    numbers: np.ndarray
    address: int


@lru_cache(maxsize=256)
def plan_of(rule: SelectionRule, num_experts: int, top_k: int) -> Plan:
    """What a rule is at a size."""
    ranks_scores = RANKINGS[rule.ranked_by].by_scores
    scale = rule.scale / top_k if rule.mean_of_experts else rule.scale
    if rule.is_softmax_top_k:
        # The order is that of the logits, and p_i / Σ p_j over the selected is the softmax of their logits alone.
        ranks_scores = False
        if rule.norm_topk_prob:
            rule = replace(rule, score_function="identity", weighed_by="softmax")
    masks_groups = rule.groups_left < rule.num_groups
    values = {
        "num_experts": num_experts,
        "top_k": top_k,
        "score": SCORES[rule.score_function],
        "ranks_scores": ranks_scores,
        "num_groups": rule.num_groups if masks_groups else 1,
        "groups_kept": rule.groups_left if masks_groups else 1,
        "group_score": GROUP_SCORES[rule.group_score],
        "weigh": WEIGHTS[rule.weighed_by],
        "normalise": rule.divides_by_sum,
        "soft_cap": rule.soft_cap or 0.0,
        "group_mask": GROUP_MASKS[rule.group_mask],
        "epsilon": rule.epsilon,
        "least_sum": rule.least_sum,
        "scale": scale,
    }
    numbers = np.array([tuple(values[name] for name in NUMBERS.names or ())], dtype=NUMBERS)
    return Plan(numbers, numbers.ctypes.data)
