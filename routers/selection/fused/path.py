"""The kernel as a way to carry out a selection rule. Axes: T tokens, E experts, K experts per token."""

from __future__ import annotations

import os
import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from routers.selection.fused.plan import (
    DTYPES,
    MOST_COLUMNS,
    MOST_EXPERTS,
    MOST_SELECTED,
    padded_columns,
)
from routers.selection.fused.selection import FusedSelection
from routers.selection.paths import EAGER, use_selection_path
from routers.selection.rule import SelectionRule
from routers.selection.selection import Selection

OLDEST_CAPABILITY = (8, 0)
"""The oldest card: the first that takes a warp's maximum in one instruction, and what the kernels are compiled for."""

_faults: list[str] = []
"""Why the kernel is not used any more in this process: the first thing that went wrong with it."""


def suits(rule: SelectionRule, logits: Tensor, top_k: int) -> bool:
    """The kernel can carry out the rule on these logits (T, E): on a card, or anywhere in Triton's interpreter.

    It leaves to the eager path what adapts the number of a token's experts, float64, more than 896 experts or 16 of a
    token, subclasses of tensors, and what is traced: `torch.compile`, `torch.export` and `torch.func` see the eager
    path's operations.
    """
    if torch.compiler.is_compiling():
        return False
    num_experts = logits.shape[-1]
    return (
        (logits.is_cuda or (interpreted() and logits.is_cpu))
        and not _faults
        and rule.how_many == "top_k"
        and top_k <= MOST_SELECTED
        and num_experts <= MOST_EXPERTS
        and padded_columns(rule, num_experts) <= MOST_COLUMNS
        and logits.dim() == 2
        and rule_dtype(rule, logits) in DTYPES
        and type(logits) in (Tensor, torch.nn.Parameter)
        and torch._C._functorch.peek_interpreter_stack() is None
        and has_triton()
        and (not logits.is_cuda or _capability(logits.device) >= OLDEST_CAPABILITY)
    )


def wins(rule: SelectionRule, logits: Tensor, top_k: int) -> bool:
    """The kernel is faster than the eager path, where it suits.

    On a card it is one launch in the place of several: 3 to 22 times as fast
    at the sizes of docs/reference/selection.md. The interpreter never wins.
    """
    return logits.is_cuda


def select(
    rule: SelectionRule, logits: Tensor, top_k: int, bias: Tensor | None = None, expert_scale: Tensor | None = None
) -> Selection:
    """Carry out the rule by the kernel; by the eager steps where the kernel fails, which a warning says once.

    Args:
        rule: one that `suits`.
        logits: (T, E).
        top_k: K.
        bias: (E,) of the ranking; None for zeros.
        expert_scale: (E,), the learned factors; None for ones.
    """
    seen = rule.in_precision(logits)
    try:
        selected, weights = _kernel()(rule, top_k, seen, bias, expert_scale)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton's own, a compiler's, a driver's: none of them is the user's mistake
        give_up(error)
        with use_selection_path(EAGER):
            return rule.select(logits, top_k, bias, expert_scale)
    return FusedSelection.of(rule, seen, bias, selected, weights)


def rule_dtype(rule: SelectionRule, logits: Tensor) -> torch.dtype:
    """The dtype in which the rule makes scores of logits."""
    return logits.dtype if rule.precision == "model" else torch.promote_types(logits.dtype, torch.float32)


def interpreted() -> bool:
    """Triton's interpreter runs kernels, on the CPU, as TRITON_INTERPRET says when triton is imported."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def has_triton() -> bool:
    """Triton is installed; that it works is seen when it is used."""
    return find_spec("triton") is not None


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def give_up(error: Exception) -> None:
    """Leave everything to the eager path from now on, and say why, once."""
    if not _faults:
        _faults.append(f"{type(error).__name__}: {error}")
        reason = next((line.strip() for line in _faults[0].splitlines() if line.strip()), "")
        warnings.warn(
            f"the selection kernel cannot be used, and the eager path is taken from now on: {reason}", stacklevel=3
        )


def _kernel() -> Any:
    # Here and not at the head: `import routers` neither needs triton nor takes the time to import it.
    return import_module("routers.selection.fused.autograd").fused_select
