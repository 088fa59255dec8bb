"""Products and blocks in the shape that a CPU is fast at. Axes: T tokens, D hidden size, E experts, N a token's values.

Which way is taken follows from sizes that docs/explanation/performance.md measures. All give the same values up to
rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from routers.native.products import native_product
from routers.routing.probabilities import no_view

FEW_EXPERTS = 8
"""Up to so many rows of a weight, W xᵀ is faster on a CPU than x Wᵀ; from 16 on the two are alike."""
SEVERAL_TOKENS = 16
"""From so many tokens on."""
FEW_VALUES = 128
"""Up to so many values of a token, in any case."""
MANY_VALUES = 512
"""From so many on where tokens have no gradient, whose product would be a transposed one as well. In between, what the
product gains is lost again where the tokens come from memory and not from a cache."""
BLOCK_BYTES = 3 << 19
"""What a block of tokens takes (512 of D = 768 in float32): it and what is made of it stay in a core's cache."""


def expert_product(tokens: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """W x + b, tokens (…, N), weight (E, N) and bias (E,) -> (…, E), as `torch.nn.functional.linear`.

    Of few experts on a CPU the result lies in memory by expert, as a transposed (E, T), unless it has a gradient.
    """
    if torch.compiler.is_compiling() or tokens.shape[0] < SEVERAL_TOKENS:
        return F.linear(tokens, weight, bias)
    if (found := native_product(tokens, weight, bias)) is not None:
        return found
    if not _suits(tokens, weight):
        return F.linear(tokens, weight, bias)
    if bias is None:
        return no_view(torch.mm(weight, tokens.t()).t())
    return no_view(torch.addmm(bias.unsqueeze(1), weight, tokens.t()).t())


def _suits(tokens: Tensor, weight: Tensor) -> bool:
    """The transposed product is the faster one."""
    return (
        weight.shape[0] <= FEW_EXPERTS
        and (tokens.shape[-1] <= FEW_VALUES or (tokens.shape[-1] >= MANY_VALUES and not tokens.requires_grad))
        and tokens.dim() == 2
        and tokens.dtype == weight.dtype == torch.float32
        and tokens.device.type == "cpu"
    )


def in_blocks(compute: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """What a function of each token for itself makes of them, (…, D) -> (…, N), block by block without autograd.

    A token's values between two steps, as after a LayerNorm, are then read from the cache and not from memory. With
    autograd they are kept anyway, and a compiler or a GPU has ways of its own: all tokens are then one block.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or tokens.device.type != "cpu" or tokens.dim() != 2:
        return compute(tokens)
    size = max(BLOCK_BYTES // (tokens.shape[1] * tokens.itemsize), 64)
    if tokens.shape[0] <= size:
        return compute(tokens)
    return torch.cat([compute(block) for block in torch.split(tokens, size)])
