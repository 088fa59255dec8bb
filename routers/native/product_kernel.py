"""The product of many tokens with few experts. Importing this file imports numba.

Axes: T tokens, D values of each, E experts.

Four tokens with four experts at once: sixteen sums, which a core keeps in registers, and four products of each value
that is read. A library's product of a flat matrix and a tall one copies the tall one first.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from routers.native.addresses import floats
from routers.native.compiled import kernel, source_stamp

_TOKENS = 32
"""Of a block, which stays in the cache while the experts go by."""
_in_any_order = numba.njit(error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
"""A step whose sums may be in any order, as those of a library's product; NaN and infinity stay what they are."""


@_in_any_order
def _one(x: Any, w: Any, added: Any, token: Any, expert: Any, out: Any) -> None:
    total = np.float32(0.0)
    for d in range(w.shape[1]):
        total += x[token, d] * w[expert, d]
    out[expert, token] = total + added[expert] if len(added) else total


@_in_any_order
def _four_by_four(x: Any, w: Any, added: Any, t: Any, e: Any, out: Any) -> None:
    a00 = a01 = a02 = a03 = a10 = a11 = a12 = a13 = np.float32(0.0)
    a20 = a21 = a22 = a23 = a30 = a31 = a32 = a33 = np.float32(0.0)
    for d in range(w.shape[1]):
        x0, x1, x2, x3 = x[t, d], x[t + 1, d], x[t + 2, d], x[t + 3, d]
        w0, w1, w2, w3 = w[e, d], w[e + 1, d], w[e + 2, d], w[e + 3, d]
        a00 += w0 * x0
        a01 += w0 * x1
        a02 += w0 * x2
        a03 += w0 * x3
        a10 += w1 * x0
        a11 += w1 * x1
        a12 += w1 * x2
        a13 += w1 * x3
        a20 += w2 * x0
        a21 += w2 * x1
        a22 += w2 * x2
        a23 += w2 * x3
        a30 += w3 * x0
        a31 += w3 * x1
        a32 += w3 * x2
        a33 += w3 * x3
    b0, b1, b2, b3 = (
        (added[e], added[e + 1], added[e + 2], added[e + 3])
        if len(added)
        else (np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0))
    )
    out[e, t], out[e, t + 1], out[e, t + 2], out[e, t + 3] = a00 + b0, a01 + b0, a02 + b0, a03 + b0
    out[e + 1, t], out[e + 1, t + 1], out[e + 1, t + 2], out[e + 1, t + 3] = a10 + b1, a11 + b1, a12 + b1, a13 + b1
    out[e + 2, t], out[e + 2, t + 1], out[e + 2, t + 2], out[e + 2, t + 3] = a20 + b2, a21 + b2, a22 + b2, a23 + b2
    out[e + 3, t], out[e + 3, t + 1], out[e + 3, t + 2], out[e + 3, t + 3] = a30 + b3, a31 + b3, a32 + b3, a33 + b3


def _make(stamp: str) -> Any:
    @kernel(8)
    def multiply(
        tokens: Any, token_stride: Any, weight: Any, added: Any, logits: Any, count: Any, num_experts: Any, size: Any
    ) -> None:
        """W x + b, tokens (T, D) and weight (E, D) -> (E, T).

        Args:
            tokens: address of (T, D), each token contiguous.
            token_stride: in values.
            weight: address of (E, D), contiguous.
            added: address of b (E,), or 0.
            logits: address of what is written, (E, T) contiguous.
            count: T, at least 1.
            num_experts: E.
            size: D.
        """
        _ = stamp
        x = floats(tokens, (count, token_stride))
        w, b = floats(weight, (num_experts, size)), floats(added, num_experts if added else 0)
        out = floats(logits, (num_experts, count))
        whole = num_experts // 4 * 4
        for start in range(0, count, _TOKENS):
            end = min(start + _TOKENS, count)
            fours = start + (end - start) // 4 * 4
            for expert in range(0, whole, 4):
                for token in range(start, fours, 4):
                    _four_by_four(x, w, b, token, expert, out)
            for token in range(start, end):
                for expert in range(whole if token < fours else 0, num_experts):
                    _one(x, w, b, token, expert, out)

    return multiply


multiply = _make(source_stamp())
