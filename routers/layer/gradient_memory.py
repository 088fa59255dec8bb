"""Memory for the gradients of a bank of experts. Axes: E experts, O outputs, I inputs.

The gradient of a bank is as large as the bank, and a step of few tokens writes that of few experts. On the CPU fresh
memory costs more than what is written into it: each page of 4 kB is a fault of its own, and then zeros are written.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor

SMALLEST = 1 << 22
"""Bytes. Below, the allocator has warm memory, which is faster than any that the system gives."""
LARGEST = 1 << 27
"""Bytes. Above, pages of 2 MB were the slower ones for what is written whole: docs/explanation/performance.md."""
_PRIVATE = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)
_HUGE_PAGES: int | None = getattr(mmap, "MADV_HUGEPAGE", None)


def untouched_zeros(shape: Sequence[int], like: Tensor) -> Tensor:
    """Zeros that cost nothing where nobody writes or reads them, of the dtype and on the device of `like`.

    From `SMALLEST` on, on a CPU under Linux, the system's own zero pages, in pages of 2 MB where it gives them: 75 MB
    that are written whole take 8 ms instead of 34, and what is not touched nothing. torch's allocator does not
    count that memory; the process's resident size does, as far as it was touched. Elsewhere `torch.zeros`.
    """
    size = prod(shape) * like.element_size()
    if _HUGE_PAGES is None or like.device.type != "cpu" or size < SMALLEST:
        return torch.zeros(shape, dtype=like.dtype, device=like.device)
    memory = mmap.mmap(-1, size, flags=_PRIVATE)
    memory.madvise(_HUGE_PAGES)
    storage = torch.frombuffer(memory, dtype=like.dtype).untyped_storage()
    # Not a view of what `frombuffer` gives: autograd keeps a gradient that is nobody's view without copying it.
    zeros = torch.empty(0, dtype=like.dtype)
    zeros.set_(storage, 0, torch.Size(shape))  # type: ignore[call-overload]  # of which torch says less than there is
    return zeros


def in_large_pages(memory: Tensor) -> Tensor:
    """The same memory, with pages of 2 MB where the system has none behind it yet; for what is written whole.

    Of `SMALLEST` to `LARGEST` bytes. What the allocator has used before stays as it is, which is faster still.
    """
    advise = _madvise()
    size = memory.nbytes
    if advise is not None and memory.device.type == "cpu" and SMALLEST <= size <= LARGEST:
        first = -(-memory.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        # What the system says to it does not matter: it is advice.
        advise(ctypes.c_void_p(first), ctypes.c_size_t(memory.data_ptr() + size - first), _HUGE_PAGES)
    return memory


@cache
def _madvise() -> Any:
    """The C library's function under Linux, or None."""
    if sys.platform != "linux" or _HUGE_PAGES is None:
        return None
    return getattr(ctypes.CDLL(None), "madvise", None)
