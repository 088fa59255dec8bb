"""Rows on the simplex, from logits or from scores. Axes: T tokens, E experts."""

from __future__ import annotations

import torch
from torch import Tensor

FEW_EXPERTS, MANY_ROWS = 16, 32
"""Fewer experts fill no vector of a CPU, and a softmax over them is computed one by one; to move them to the front
costs what 32 such rows cost. Measured with AVX-512, E = 2 to 128, T = 2 to 8,192: docs/explanation/performance.md."""


def expert_softmax(logits: Tensor) -> Tensor:
    """Probabilities over the experts, the last axis, in float32 (float64 stays float64).

    On the CPU a softmax over a short last axis is not vectorised; with the experts moved to the front it is, and takes
    a seventh of the time at T = 2048, E = 8. The values are the same.

    Shapes: (T, E) -> (T, E); other ranks take the plain path.
    """
    if logits.dtype.itemsize < torch.float32.itemsize:
        logits = logits.to(torch.float32)
    if logits.dim() == 2 and logits.is_cpu and not torch.compiler.is_compiling():
        rows, experts = logits.shape
        if rows >= MANY_ROWS and experts < FEW_EXPERTS:
            return no_view(torch.softmax(logits.t().contiguous(), dim=0).t())
    return torch.softmax(logits, dim=-1)


def no_view(transposed: Tensor) -> Tensor:
    """A copy where a gradient goes through it, otherwise itself.

    FSDP2 warns of a module whose outputs are views, which would lose its hooks if they were changed in place.
    """
    return transposed.contiguous() if transposed.requires_grad else transposed


def divided_by_sum(scores: Tensor) -> Tensor:
    """Scores of at least 0 over their sum, rows on the simplex: (…, E) -> (…, E). Uniform where all scores are 0."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    total = scores.sum(dim=-1, keepdim=True)
    nothing = total == 0  # and not `total > 0`: a NaN stays one
    return torch.where(nothing, 1 / scores.shape[-1], scores / (total + nothing))
