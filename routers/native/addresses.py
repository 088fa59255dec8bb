"""Memory that a tensor owns, as an array inside a kernel. Importing this file imports numba.

A kernel is called with addresses as integers: to make a NumPy array of a tensor takes half a microsecond each, as long
as a selection for one token.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic


@intrinsic
def pointer(typing_context: Any, address: Any) -> Any:
    """An integer as a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@numba.njit
def floats(address: Any, shape: Any) -> Any:
    """Float32 from an address on."""
    return numba.carray(pointer(address), shape, np.float32)


@numba.njit
def words(address: Any, shape: Any) -> Any:
    """Int64 from an address on."""
    return numba.carray(pointer(address), shape, np.int64)
