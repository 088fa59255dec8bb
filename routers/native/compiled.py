"""What makes a kernel of a function. Importing this file imports numba."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}
"""A division by zero is infinite, as torch's; a product and a sum may be one operation."""


def step(function: Callable[..., Any]) -> Any:
    """A part of a kernel."""
    return numba.njit(**_OPTIONS)(function)


def kernel(arguments: int) -> Callable[[Callable[..., Any]], Any]:
    """A function of so many whole numbers, compiled at once, or out of numba's cache. It lets other threads go on.

    The cache lies beside the file, or in NUMBA_CACHE_DIR. It notices a change of the function's own file alone, so that
    kernels are closures over `source_stamp`, which numba looks up as well.
    """
    made: Callable[[Callable[..., Any]], Any] = numba.njit(
        (numba.int64,) * arguments, cache=True, nogil=True, **_OPTIONS
    )
    return made


def source_stamp(*files: str) -> str:
    """A digest of the files that a kernel is made of, and of those of this folder."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted({*folder.glob("*.py"), *(each for file in files for each in Path(file).parent.glob("*.py"))}):
        digest.update(path.read_bytes())
    return digest.hexdigest()
