"""The product of many tokens with few experts by a native kernel. Axes: T tokens, D values of each, E experts."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from routers.native.use import give_up, has_native_kernels, is_plain, operators_are_seen

MOST_EXPERTS, LEAST_VALUES, LEAST_PRODUCTS = 64, 128, 1 << 17
"""Up to so many experts, from so many values of a token and from so many multiplications T·D·E on, the kernel was
measured to be the faster way."""


def native_product(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """W x + b, tokens (T, D), weight (E, D) and bias (E,) -> (T, E), which lies in memory by expert.

    None where the kernel cannot do it, or torch's product is faster: not float32 on a CPU, a gradient wanted, more than
    one thread, many experts, few tokens.
    """
    if (
        operators_are_seen()  # before anything about a tensor is asked: a compiler would have it in its graph
        or torch.get_num_threads() > 1
        or tokens.dim() != 2
        or weight.shape[0] > MOST_EXPERTS
        or tokens.shape[1] < LEAST_VALUES
        or tokens.numel() * weight.shape[0] < LEAST_PRODUCTS
        or not (is_plain(tokens) and tokens.stride(1) == 1 and tokens.stride(0) >= tokens.shape[1])
        or not (is_plain(weight) and weight.is_contiguous())
        or not (bias is None or (is_plain(bias) and bias.is_contiguous()))
        or not has_native_kernels()
    ):
        return None
    count, size = tokens.shape
    logits = tokens.new_empty(weight.shape[0], count)
    try:
        _kernel()(
            tokens.data_ptr(),
            tokens.stride(0),
            weight.data_ptr(),
            0 if bias is None else bias.data_ptr(),
            logits.data_ptr(),
            count,
            weight.shape[0],
            size,
        )
    except Exception as error:  # numba's own, or LLVM's: none of them is the user's mistake
        give_up(error)
        return None
    return logits.t()


@cache
def _kernel() -> Any:
    # Here and not at the head: `import routers` neither needs numba nor waits for it.
    return import_module("routers.native.product_kernel").multiply
