"""Starts the kernels, which imports triton. Axes: T tokens, E experts, K experts per token."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from routers.selection.fused.kernels import select_backward, select_forward
from routers.selection.fused.plan import Plan
from routers.selection.fused.steps import GROUP_SCORES, SCORES, WEIGHTS

_TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


def constants(plan: Plan, dtype: torch.dtype, rank_dtype: torch.dtype, num_tokens: int) -> dict[str, Any]:
    """All that the kernels are compiled with.

    Args:
        plan: the rule at its sizes.
        dtype: of scores and weights.
        rank_dtype: of what is ranked.
        num_tokens: T.
    """
    return (
        _steps(plan.score, plan.weigh, plan.group_score)
        | plan.numbers
        | {
            "DTYPE": _TYPES[dtype],
            "RANK_DTYPE": _TYPES[rank_dtype],
            "BLOCK_T": plan.tokens_of_a_program(num_tokens),
        }
    )


@lru_cache(maxsize=256)
def _steps(score: str, weigh: str, group_score: str) -> dict[str, Any]:
    return {
        "SCORE": SCORES[score].forward,
        "SCORE_GRADIENT": SCORES[score].gradient,
        "WEIGH": WEIGHTS[weigh].forward,
        "WEIGH_GRADIENT": WEIGHTS[weigh].gradient,
        "GROUP_SCORE": GROUP_SCORES[group_score],
    }


def select(plan: Plan, logits: Tensor, bias: Tensor | None, expert_scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """Selected experts (T, K) int64 and weights (T, K) of logits (T, E), without gradients.

    Args:
        plan: the rule at E and K.
        logits: in the dtype of the rule's scores.
        bias: (E,) of the ranking, or None.
        expert_scale: (E,) factors, or None.
    """
    num_tokens, shape = len(logits), (len(logits), int(plan.numbers["K"] or 0))
    out = logits.dtype if expert_scale is None else torch.promote_types(logits.dtype, expert_scale.dtype)
    ranks = logits.dtype if bias is None else torch.promote_types(logits.dtype, bias.dtype)
    selected = torch.empty(shape, dtype=torch.int64, device=logits.device)
    weights = torch.empty(shape, dtype=out, device=logits.device)
    if num_tokens:
        _launch(select_forward, plan, logits.dtype, ranks, (logits.contiguous(), bias, expert_scale, selected, weights))
    return selected, weights


def gradients(
    plan: Plan, logits: Tensor, expert_scale: Tensor | None, selected: Tensor, weight_gradients: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Gradients of the logits (T, E) and of the factors (E,), or None where there are none.

    Args:
        plan: the rule at E and K.
        logits: (T, E).
        expert_scale: (E,) factors, or None.
        selected: (T, K), what `select` found.
        weight_gradients: (T, K).
    """
    num_tokens = len(logits)
    of_logits = torch.empty_like(logits, memory_format=torch.contiguous_format)
    if not num_tokens:
        return of_logits, None if expert_scale is None else torch.zeros_like(expert_scale)
    blocks = None
    if expert_scale is not None:  # a row for each program, added up afterwards: the same in every run, unlike atomics
        programs = triton.cdiv(num_tokens, plan.tokens_of_a_program(num_tokens))
        blocks = torch.empty(programs, len(expert_scale), dtype=torch.float32, device=logits.device)
    operands = (logits.contiguous(), expert_scale, selected, weight_gradients.contiguous(), of_logits, blocks)
    _launch(select_backward, plan, logits.dtype, logits.dtype, operands)
    return of_logits, None if blocks is None or expert_scale is None else blocks.sum(dim=0).to(expert_scale.dtype)


def _launch(
    function: Any, plan: Plan, dtype: torch.dtype, rank_dtype: torch.dtype, operands: tuple[Tensor | None, ...]
) -> None:
    """Start a kernel on operands, the first of which has T rows.

    Triton finds a compiled kernel by all of its arguments, constants too, which takes the host ten times as long as to
    launch it. From the second time on the kernel is known by what Triton would tell apart: dtypes, which addresses are
    divisible by 16, and the device.
    """
    rows = operands[0]
    assert rows is not None
    num_tokens = len(rows)
    block = plan.tokens_of_a_program(num_tokens)
    grid = (triton.cdiv(num_tokens, block), 1, 1)
    key = (function.__name__, dtype, rank_dtype, block, num_tokens < 2**31, rows.device, *map(_told_apart, operands))
    with torch.cuda.device_of(rows):  # type: ignore[no-untyped-call]  # torch leaves it untyped
        known = plan.launches.get(key)
        if known is not None:
            kernel, rest = known
            kernel[grid](*operands, num_tokens, *rest)
            return
        given = constants(plan, dtype, rank_dtype, num_tokens)
        kernel = function[grid](*operands, num_tokens, **given, num_warps=1)
    if kernel is not None:  # the interpreter compiles none
        plan.launches[key] = kernel, tuple(given[name] for name in function.arg_names[len(operands) + 1 :])


def _told_apart(operand: Tensor | None) -> tuple[torch.dtype, bool] | None:
    return None if operand is None else (operand.dtype, operand.data_ptr() % 16 == 0)
