"""The hash of a token's bits as one pass over it. Importing this file imports numba.

Axes: T tokens, W 64-bit words of a token.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from routers.native.addresses import floats, words
from routers.native.compiled import kernel, source_stamp

_UPPER_HALF = np.uint64(32)


def _make(stamp: str) -> Any:
    @kernel(8)
    def hash_tokens(
        tokens: Any, factors: Any, experts: Any, weights: Any, count: Any, size: Any, num_experts: Any, mixer: Any
    ) -> None:
        """Σ w_i · x_i mod 2⁶⁴ over the words of each token, mixed, modulo E: (T, W) int64, (W,) int64 -> (T,) int64.

        Weights of 1 are written beside: a call of torch's that writes them takes as long as to hash fifty tokens.

        Args:
            tokens: address of the tokens.
            factors: address of w.
            experts: address of what is written.
            weights: likewise, (T,) float32.
            count: T.
            size: W.
            num_experts: E.
            mixer: the odd number that a key is multiplied with between two shifts.
        """
        _ = stamp
        x, w, found = words(tokens, (count, size)), words(factors, size), words(experts, count)
        ones = floats(weights, count)
        for token in range(count):
            total = np.int64(0)
            for place in range(size):
                total += x[token, place] * w[place]
            key = np.uint64(total)
            key = (key ^ (key >> _UPPER_HALF)) * np.uint64(mixer)
            ones[token] = np.float32(1.0)
            # Of 32 bits, whose division takes a third of the time.
            found[token] = np.int64(np.uint32(key >> _UPPER_HALF) % np.uint32(num_experts))

    return hash_tokens


hash_tokens = _make(source_stamp())
