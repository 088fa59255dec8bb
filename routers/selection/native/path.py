"""The native kernel as a way to carry out a selection rule. Axes: T tokens, E experts, K experts per token."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from routers.native import give_up, has_native_kernels, is_plain, operators_are_seen
from routers.selection.paths import EAGER, use_selection_path
from routers.selection.rule import SelectionRule
from routers.selection.selection import Selection, UnreadSelection

MANY_TOKENS = 64
"""From so many on the kernel is the faster one where torch needs a top-k and a softmax alone; of other rules always."""
SLOW_SCORES, FEW_LOGITS = frozenset({"sqrt_softplus"}), 1 << 10
"""Scores that are not made in vectors: of more logits than so many, torch's are faster."""
FEW_THREADS, LOGITS_OF_A_THREAD = 2, 1 << 15
"""The kernel has one thread; torch, where it has more, divides more logits than that among them."""
MOST_SELECTED = 16
"""The kernel was measured up to so many experts per token."""


def suits(rule: SelectionRule, logits: Tensor, top_k: int) -> bool:
    """The kernel can carry out the rule on these logits (T, E): float32 on a CPU, from which no gradient is wanted.

    It leaves to the eager path what adapts the number of a token's experts, factors of experts, and whoever looks at
    torch's operators: `torch.compile`, `torch.export`, `torch.func`, modes.
    """
    return (
        carries_out(rule)
        and not operators_are_seen()  # before anything about the tensor is asked: a compiler would have it in its graph
        and is_plain(logits)
        and logits.dim() == 2
        and has_native_kernels()
    )


def wins(rule: SelectionRule, logits: Tensor, top_k: int) -> bool:
    """The kernel is faster than the eager path, where it suits: see docs/explanation/performance.md."""
    if torch.compiler.is_compiling() or not logits.is_cpu or top_k > MOST_SELECTED:
        return False
    if logits.numel() > LOGITS_OF_A_THREAD and torch.get_num_threads() > FEW_THREADS:
        return False
    if rule.is_softmax_top_k or not rule.needs_scores:
        return logits.shape[0] >= MANY_TOKENS
    return rule.score_function not in SLOW_SCORES or logits.numel() <= FEW_LOGITS


def carries_out(rule: SelectionRule) -> bool:
    """The kernel has all steps of the rule."""
    return rule.how_many == "top_k" and not rule.expert_scale


def select(
    rule: SelectionRule, logits: Tensor, top_k: int, bias: Tensor | None = None, expert_scale: Tensor | None = None
) -> Selection:
    """Carry out the rule by the kernel; by the eager steps where the kernel fails, which a warning says once.

    Args:
        rule: one that `suits`.
        logits: (T, E).
        top_k: K.
        bias: (E,) of the ranking; None for zeros.
        expert_scale: None.
    """
    count, num_experts = logits.shape
    # Sizes one by one: a tuple of them takes half a microsecond more.
    selected = logits.new_empty(count, top_k, dtype=torch.int64)
    weights = logits.new_empty(count, top_k)
    ranking = None if bias is None else bias.to(torch.float32).contiguous()
    try:
        if count:
            token_stride, expert_stride = logits.stride()
            load("kernels").select(
                load("plan").plan_of(rule, num_experts, top_k).address,
                logits.data_ptr(),
                token_stride,
                expert_stride,
                0 if ranking is None else ranking.data_ptr(),
                selected.data_ptr(),
                weights.data_ptr(),
                count,
            )
    except Exception as error:  # numba's own, or LLVM's: none of them is the user's mistake
        give_up(error)
        with use_selection_path(EAGER):
            return rule.select(logits, top_k, bias, expert_scale)
    return UnreadSelection.of(rule, logits, bias, selected, weights)


@cache
def load(name: str) -> Any:
    """A file of this folder. Here and not at the head: `import routers` neither needs numba nor waits for it."""
    return import_module(f"routers.selection.native.{name}")
