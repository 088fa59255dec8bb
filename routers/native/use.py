"""When native kernels may be used: they are installed, they work, and nobody wants to see torch's operators."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.compiler import is_compiling

# By names of this file's own: all six are asked for each token that a language model decodes.
_dispatch_modes, _function_modes = torch._C._len_torch_dispatch_stack, torch._C._len_torch_function_stack
_transform, _trace = torch._C._functorch.peek_interpreter_stack, torch._C._get_tracing_state

_faults: list[str] = []
"""Why they are not used any more in this process: the first thing that went wrong."""
_wanted = [os.environ.get("MOE_ROUTER_NATIVE") != "0"]


def has_native_kernels() -> bool:
    """numba is installed, no kernel has failed in this process, and nobody wants to do without them.

    Without them is `use_native_kernels(False)`, or MOE_ROUTER_NATIVE=0 in the environment when routers are imported.
    """
    return _wanted[-1] and not _faults and _has_numba()


@contextmanager
def use_native_kernels(used: bool) -> Iterator[None]:
    """Inside, use native kernels where they win, as usual, or leave everything to torch's operators.

    Examples:
        >>> with use_native_kernels(False):
        ...     has_native_kernels()
        False
    """
    _wanted.append(used)
    try:
        yield
    finally:
        _wanted.pop()


def operators_are_seen() -> bool:
    """Somebody looks at torch's operators, or derives through them: a compiler, a mode, `torch.func`, a trace."""
    return (
        is_compiling()
        or _dispatch_modes() > 0
        or _function_modes() > 0
        or _transform() is not None
        or forward_ad._current_level >= 0
        or _trace() is not None
    )


def is_plain(tensor: Tensor) -> bool:
    """Float32 in a CPU's memory as its strides say, no subclass with operators of its own, and no gradient wanted."""
    kind = type(tensor)
    return (
        (kind is Tensor or kind is nn.Parameter)
        and tensor.is_cpu
        and tensor.dtype is torch.float32
        and tensor.layout is torch.strided
        and not (tensor.requires_grad and torch.is_grad_enabled())
        and not tensor.is_neg()
    )


def give_up(error: Exception) -> None:
    """Leave everything to torch's operators from now on, and say why, once."""
    if not _faults:
        _faults.append(f"{type(error).__name__}: {error}")
        reason = next((line.strip() for line in _faults[0].splitlines() if line.strip()), "")
        warnings.warn(
            f"native kernels cannot be used, and torch's operators take their place from now on: {reason}",
            stacklevel=3,
        )


def native_version() -> str | None:
    """The version of numba that native kernels run by; None where there are none."""
    return version("numba") if has_native_kernels() else None


@cache
def _has_numba() -> bool:
    """That it works is seen when it is used."""
    return find_spec("numba") is not None
