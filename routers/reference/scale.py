"""Whether all logits together have the size that they should have. Axes: T tokens, E experts."""

from __future__ import annotations

import torch
from torch import Tensor

SCALE_TOLERANCE = 0.05
"""Of the size of all logits; in bfloat16 a right router's is within 0.01."""
LEAST_LOGITS = 64
LEAST_SIZE = 0.05
"""Root mean square of logits in which a size can be seen beside their rounding."""


def compare_scale(probs: Tensor, expected: Tensor) -> None:
    """The size of all logits together, which a coarse dtype rounds in no one direction: weights 1.1 times too large.

    Logits are those of probs (T, E) less their mean, fitted to the expected by least squares. Too few, or hardly any
    difference between them, say nothing; a probability of 0 has no logit.

    Args:
        probs: (T, E) float64, of the router.
        expected: (T, E) float64, of the reference.

    Raises:
        AssertionError: with the factor between the two.
    """
    if expected.numel() < LEAST_LOGITS or not bool((expected > 0).all() and (probs > 0).all()):
        return
    found, wanted = (each.log() - each.log().mean(dim=-1, keepdim=True) for each in (probs, expected))
    size = wanted.square().mean()
    scale = float((found * wanted).mean() / size.clamp_min(torch.finfo(size.dtype).tiny))
    if float(size.sqrt()) > LEAST_SIZE and not abs(scale - 1) <= SCALE_TOLERANCE:
        raise AssertionError(
            f"router_probs differ from the float64 reference: their logits are {scale:.3g} times as large, "
            f"expected 1 within {SCALE_TOLERANCE}"
        )
