"""Softmax(q kᵀ) out of fused attention kernels: where the values are the identity, attention returns its own weights.

Axes: T tokens (queries), E experts (keys), Q query size, H the kernel's head size, at least Q and E.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

FLASH_HEAD_SIZE = 256
"""The largest H of FlashAttention's kernels."""
_ALIGNED = 8
"""Kernels want H in multiples of this."""


@dataclass(frozen=True)
class Kernel:
    """A way to compute softmax(q kᵀ).

    Attributes:
        compute: queries (T, H), keys (E, H), values (E, H) -> (T, H), no scale.
        obstacle: keys (E, Q) -> why it cannot serve them, or None.
        tolerance: how far a probability may be from the plain formula's.
    """

    compute: Callable[[Tensor, Tensor, Tensor], Tensor]
    obstacle: Callable[[Tensor], str | None]
    tolerance: float


def choose_kernel(name: str, keys: Tensor) -> str:
    """The kernel that serves keys (E, Q): the named one, or for "fused" the first of `KERNELS` that can.

    Raises:
        ValueError: an unknown name, or a kernel that cannot serve these keys, and why.
    """
    if name == "fused":
        return next(each for each, kernel in KERNELS.items() if kernel.obstacle(keys) is None)
    if name not in KERNELS:
        raise ValueError(f"unknown attention kernel {name!r}; there are: fused, {', '.join(KERNELS)}")
    if (obstacle := KERNELS[name].obstacle(keys)) is not None:
        raise ValueError(f"attention kernel {name!r}: {obstacle}")
    return name


def attention_probabilities(queries: Tensor, keys: Tensor, kernel: str) -> Tensor:
    """Softmax(q kᵀ) over the experts, (…, Q) and (E, Q) -> (…, E), in float32 (float64 stays float64).

    A kernel rounds what it returns to its own dtype, so each row is divided by its sum.

    Args:
        queries: with any scale already in them or in the keys.
        keys: one an expert.
        kernel: as `choose_kernel` names it.
    """
    num_experts, query_size = keys.shape
    tokens = queries.reshape(-1, query_size)
    head_size = -(-max(keys.shape) // _ALIGNED) * _ALIGNED
    padding = (0, head_size - query_size)
    identity = torch.eye(num_experts, head_size, dtype=keys.dtype, device=keys.device)
    attended = KERNELS[kernel].compute(F.pad(tokens, padding), F.pad(keys, padding), identity)
    probs = attended[:, :num_experts].to(torch.promote_types(keys.dtype, torch.float32))
    return (probs / probs.sum(dim=-1, keepdim=True)).view(*queries.shape[:-1], num_experts)


def _torch_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Torch's own, in float32 at least; autocast would have it in less."""
    dtype = torch.promote_types(keys.dtype, torch.float32)
    with torch.autocast(keys.device.type, enabled=False):
        query, key, value = (tensor.to(dtype)[None, None] for tensor in (queries, keys, values))
        return F.scaled_dot_product_attention(query, key, value, scale=1.0)[0, 0]


def _half(keys: Tensor) -> torch.dtype:
    """Bfloat16 for bfloat16 and else float16, which has three bits more."""
    return torch.bfloat16 if keys.dtype == torch.bfloat16 else torch.float16


def _flash_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """flash-attn's, in half precision."""
    return _in_its_layout(flash_function(), _half(keys), queries, keys, values)


def _flash3_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """FlashAttention-3's forward pass as fa3-fwd builds it: in bfloat16, the only half precision that it has."""
    return _in_its_layout(flash3_function(), torch.bfloat16, queries, keys, values)


def _in_its_layout(function: Any, dtype: torch.dtype, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Batch, tokens, heads, head size."""
    if not len(queries):
        return queries @ keys.T @ values  # no block of queries to start a kernel on
    query, key, value = (tensor.to(dtype)[None, :, None] for tensor in (queries, keys, values))
    attended: Tensor = function(query, key, value, softmax_scale=1.0)
    return attended[0, :, 0]


def _torch_flash_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Torch's own FlashAttention, in half precision, and no other kernel of torch's: it fails where that cannot."""
    if not len(queries):
        return queries @ keys.T @ values
    query, key, value = (tensor.to(_half(keys))[None, None] for tensor in (queries, keys, values))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return F.scaled_dot_product_attention(query, key, value, scale=1.0)[0, 0]


@cache
def flash3_function() -> Any:
    """fa3-fwd's function, or None where it is not installed or its build fits neither torch nor the device."""
    try:
        from fa3_fwd_interface import flash_attn_func  # type: ignore[import-not-found]  # optional, for Hopper
    except (ImportError, OSError):
        return None
    return flash_attn_func


@cache
def flash_function() -> Any:
    """flash-attn's function, or None: flash-attn-4 has a `flash_attn` without it, and a build may not fit torch."""
    try:
        from flash_attn import flash_attn_func  # type: ignore[import-not-found]  # optional: the extra `flash`
    except (ImportError, OSError):
        return None
    return flash_attn_func


def _obstacle_to_half_precision(keys: Tensor) -> str | None:
    if keys.device.type != "cuda":
        return f"it needs a CUDA device, the router is on {keys.device.type}"
    if keys.dtype == torch.float64:
        return "it computes in half precision, the router is in float64"
    if max(keys.shape) > FLASH_HEAD_SIZE:
        num_experts, query_size = keys.shape
        return f"query_size {query_size} and num_experts {num_experts} must both be at most {FLASH_HEAD_SIZE}"
    return None


def _flash_obstacle(keys: Tensor) -> str | None:
    missing = "flash-attn is not installed (the extra `flash`), or has no flash_attn_func"
    return _obstacle_to_half_precision(keys) or (missing if flash_function() is None else None)


def _flash3_obstacle(keys: Tensor) -> str | None:
    if (obstacle := _obstacle_to_half_precision(keys)) is not None:
        return obstacle
    if torch.is_grad_enabled() and keys.requires_grad:
        return "it has no backward pass, and gradients are wanted"
    return "fa3-fwd is not installed, or does not fit this torch" if flash3_function() is None else None


def _torch_flash_obstacle(keys: Tensor) -> str | None:
    if (obstacle := _obstacle_to_half_precision(keys)) is not None:
        return obstacle
    available: bool = torch.backends.cuda.is_flash_attention_available()
    return None if available else "this torch was built without it"


KERNELS = {
    "flash3": Kernel(_flash3_attention, _flash3_obstacle, tolerance=4e-3),
    "flash": Kernel(_flash_attention, _flash_obstacle, tolerance=4e-3),
    "torch_flash": Kernel(_torch_flash_attention, _torch_flash_obstacle, tolerance=4e-3),
    "sdpa": Kernel(_torch_attention, lambda keys: None, tolerance=1e-5),
}
"""By name, in the order in which "fused" tries them."""
