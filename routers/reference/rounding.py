"""What rounding may do to a router that is right. Axes: T tokens, D hidden size, E experts, K experts per token."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from routers.base import Router

LEAST_SPREAD = 0.125
"""Half an epsilon comes of it: by as much a score of nearly 1 is rounded in half precision."""


def computing_dtype(router: Router, hidden_states: Tensor) -> torch.dtype:
    """Of a router's parameters; one without parameters computes in the dtype of its input."""
    floats = (tensor.dtype for tensor in router.parameters() if tensor.is_floating_point())
    return next(floats, hidden_states.dtype)


def expected_rounding(router: Router, hidden_states: Tensor, probs: Tensor, unmasked: Tensor | None = None) -> float:
    """How far a right router's probabilities may be from the float64 reference of the same weights and inputs.

    In float32 that is the router's own tolerance, from D = 1024 on √(D/1024) times as much: the rounding of a sum of D
    products grows with √D. In a coarser dtype a logit is wrong by about ε of its size, and a probability p by at most p
    times as much: by ε·max_t (max_e p · (max_e ln p − min_e ln p)). The suite's routers stay below that (but where all
    probabilities are nearly alike, which `LEAST_SPREAD` is for) and are allowed four times as much; weights that are
    all too large or too small by less than that shows are found by `compare_scale`.

    Args:
        router: whose parameters' dtype counts, see `computing_dtype`.
        hidden_states: (…, D).
        probs: (T, E), of the reference.
        unmasked: (T, E), of the same logits before the router masks some of them, which have a size still.
    """
    least = _least(router, hidden_states)
    dtype = computing_dtype(router, hidden_states)
    if dtype.itemsize >= torch.float32.itemsize:
        return least
    spread = float((probs.amax(dim=-1) * _log_range(probs if unmasked is None else unmasked)).amax())
    return max(least, 4 * torch.finfo(dtype).eps * max(spread, LEAST_SPREAD))


def decided_masks(router: Router, hidden_states: Tensor, unmasked: Tensor) -> Tensor:
    """Whether rounding leaves the mask of a router that masks all but its K largest logits, (T, E) -> (T,) bool.

    Args:
        router: as in `expected_rounding`.
        hidden_states: (…, D).
        unmasked: (T, E), the reference's probabilities before the mask.
    """
    if router.top_k == router.num_experts:
        return torch.ones(len(unmasked), dtype=torch.bool, device=unmasked.device)
    dtype = computing_dtype(router, hidden_states)
    ordered = unmasked.clamp_min(torch.finfo(unmasked.dtype).tiny).log().sort(dim=-1, descending=True).values
    gap = ordered[:, router.top_k - 1] - ordered[:, router.top_k]
    coarse = torch.finfo(dtype).eps if dtype.itemsize < torch.float32.itemsize else 0.0
    return gap > 2 * (_least(router, hidden_states) + 4 * coarse * _log_range(unmasked).clamp_min(LEAST_SPREAD))


def _least(router: Router, hidden_states: Tensor) -> float:
    return router.tolerance * max(1.0, math.sqrt(hidden_states.shape[-1] / 1024))


def _log_range(probs: Tensor) -> Tensor:
    logs = probs.clamp_min(1e-5).log()
    return logs.amax(dim=-1) - logs.amin(dim=-1)
