"""What the kernels are compiled with for a rule: names of steps, numbers and sizes, without triton.

Axes: E experts, K experts per token, G groups, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch

from routers.selection.rule import SelectionRule
from routers.selection.steps import GROUP_MASKS, RANKINGS

MOST_EXPERTS, MOST_SELECTED, MOST_COLUMNS = 896, 16, 1024
"""E and K are at most these. Columns are experts, each group padded to a power of two."""
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
VALUES_OF_A_WARP, MANY_TOKENS = 128, 1024
"""From so many tokens on a warp has as many of them as give it so many logits; before that it has one, and few tokens
spread over the card. On an H200 16,384 tokens of 128 experts, K = 8, took 12.7 µs with 128 logits a warp, 13.7 with 512
and 18.3 with 1,024; fewer experts were not measured."""


@dataclass(frozen=True)
class Plan:
    """A rule at a size.

    Attributes:
        score, weigh, group_score: names of the steps.
        numbers: the kernels' other constants, but `BLOCK_T` and dtypes.
        columns: experts, each group padded to a power of two.
        launches: kernels that are compiled and loaded, and their constants, by what Triton would tell apart.
    """

    score: str
    weigh: str
    group_score: str
    numbers: dict[str, float | int | bool | None]
    columns: int
    launches: dict[Any, tuple[Any, tuple[Any, ...]]] = field(default_factory=dict, repr=False, compare=False)

    def tokens_of_a_program(self, num_tokens: int) -> int:
        """BLOCK_T."""
        return max(VALUES_OF_A_WARP // self.columns, 1) if num_tokens >= MANY_TOKENS else 1


def padded_columns(rule: SelectionRule, num_experts: int) -> int:
    """E with the number of groups, and each of them, padded to a power of two."""
    groups = rule.num_groups if rule.groups_left < rule.num_groups else 1
    return power_of_two(groups) * power_of_two(num_experts // groups)


def power_of_two(number: int) -> int:
    """The least power of two that is not below a number."""
    return 1 << (number - 1).bit_length()


@lru_cache(maxsize=256)
def plan_of(rule: SelectionRule, num_experts: int, top_k: int) -> Plan:
    """What a rule is at a size."""
    scale = rule.scale / top_k if rule.mean_of_experts else rule.scale
    ranks_scores = RANKINGS[rule.ranked_by].by_scores
    if rule.is_softmax_top_k:
        # The order is that of the logits, and p_i / Σ p_j over the selected is the softmax of their logits alone: the
        # selection need not wait for the softmax over all experts, or need it at all.
        ranks_scores = False
        if rule.norm_topk_prob:
            rule = replace(rule, score_function="identity", weighed_by="softmax", norm_topk_prob=False)
    masks_groups = rule.groups_left < rule.num_groups
    groups = rule.num_groups if masks_groups else 1
    block_g, block_s = power_of_two(groups), power_of_two(num_experts // groups)
    numbers = {
        "CAP": rule.soft_cap,
        "RANKS_SCORES": ranks_scores,
        "G": groups,
        "GROUPS_KEPT": rule.groups_left if masks_groups else 1,
        "MASK": GROUP_MASKS[rule.group_mask],
        "NORMALISE": rule.divides_by_sum,
        "EPSILON": rule.epsilon,
        "LEAST_SUM": rule.least_sum,
        "SCALE": scale,
        "E": num_experts,
        "K": top_k,
        "BLOCK_G": block_g,
        "BLOCK_S": block_s,
    }
    return Plan(rule.score_function, rule.weighed_by, rule.group_score, numbers, block_g * block_s)
