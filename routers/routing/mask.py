"""Which tokens count: padding does not. Axes: B batch, S sequence, T = B·S tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def flat_mask(mask: Tensor | None, shape: torch.Size) -> Tensor | None:
    """A checked mask, (T,) or (B, S) bool -> (T,), or None, which says that all tokens count.

    Args:
        mask: True where the token counts.
        shape: of the hidden states, (T, D) or (B, S, D).

    Raises:
        ValueError: the mask is of other tokens, or holds no truth values.
    """
    if mask is None:
        return None
    if not isinstance(mask, Tensor):
        raise ValueError(
            f"mask is a {type(mask).__name__}, expected a tensor of torch.bool, True where the token counts"
        )
    # Number by number: in a graph of dynamic shapes tuples of sizes are never the same.
    as_the_tokens = mask.dim() == len(shape) - 1 and all(n == m for n, m in zip(mask.shape, shape, strict=False))
    flat = mask.dim() == 1 and mask.numel() == math.prod(shape[:-1])
    if not (as_the_tokens or flat):
        raise ValueError(f"mask has shape {tuple(mask.shape)}, expected {tuple(shape[:-1])}, one value for each token")
    if mask.dtype != torch.bool:
        raise ValueError(f"mask is {mask.dtype}, expected torch.bool, True where the token counts")
    return mask.reshape(-1)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the tokens that count, (T, ...) -> (...); 0 if a mask leaves none.

    Raises:
        ValueError: the mask is of other tokens.
    """
    if mask is None:
        return values.mean(dim=0)
    if mask.shape != values.shape[:1]:
        raise ValueError(f"mask has shape {tuple(mask.shape)}, expected ({len(values)},), one value for each token")
    # Not by multiplying: what padding holds may be NaN.
    counted = values.where(mask.view(-1, *[1] * (values.dim() - 1)), 0.0)
    return counted.sum(dim=0) / mask.sum().clamp_min(1)
