"""The hash of a token's bits by a native kernel. Axes: T tokens, N values of a token, W 64-bit words of it."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from routers.native.use import give_up, has_native_kernels, is_plain, operators_are_seen

WORD_BYTES, MOST_EXPERTS = 8, 1 << 32
FEW_THREADS, VALUES_OF_A_THREAD = 2, 1 << 17
"""The kernel has one thread; torch, where it has more, divides more values than that among them."""


def hash_tokens(values: Tensor, factors: Tensor, num_experts: int, mixer: int) -> tuple[Tensor, Tensor] | None:
    """Σ w_i · x_i mod 2⁶⁴ over each token's words, mixed, modulo E: its expert, (T, 1) int64, and a weight of 1.

    None where the kernel cannot do it, or torch's operators are faster: not on a CPU, in another dtype, of tokens that
    are no whole number of words, with many threads.

    Args:
        values: (T, N).
        factors: (W,) int64, contiguous.
        num_experts: E.
        mixer: an odd number below 2⁶³ in size, as int64.
    """
    count, size = values.shape
    if not (
        not operators_are_seen()  # before anything about the tensor is asked: a compiler would have it in its graph
        and is_plain(values)
        and values.is_contiguous()
        and size % 2 == 0
        and num_experts < MOST_EXPERTS
        and values.data_ptr() % WORD_BYTES == 0
        and factors.is_cpu
        and (torch.get_num_threads() <= FEW_THREADS or values.numel() <= VALUES_OF_A_THREAD)
        and has_native_kernels()
    ):
        return None
    # Sizes one by one: a tuple of them takes half a microsecond more.
    experts, weights = factors.new_empty(count, 1), values.new_empty(count, 1)
    try:
        if count:
            addresses = values.data_ptr(), factors.data_ptr(), experts.data_ptr(), weights.data_ptr()
            _kernel()(*addresses, count, size // 2, num_experts, mixer)
    except Exception as error:  # numba's own, or LLVM's: none of them is the user's mistake
        give_up(error)
        return None
    return experts, weights


@cache
def _kernel() -> Any:
    # Here and not at the head: `import routers` neither needs numba nor waits for it.
    return import_module("routers.native.hash_kernel").hash_tokens
