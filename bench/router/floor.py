"""The floor of a router: its bare matrix products, as torch's library computes them, and one read of its input.

A router whose product is a native kernel's may be below it.

Axes: T tokens, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.timing.interleave import Call

_ATEN = torch.ops.aten
_PRODUCTS: Mapping[Any, Callable[..., Any]] = {
    _ATEN.mm.default: _ATEN.mm.out,
    _ATEN.addmm.default: _ATEN.addmm.out,
    _ATEN.bmm.default: _ATEN.bmm.out,
    _ATEN.baddbmm.default: _ATEN.baddbmm.out,
}
"""A product as torch carries it out -> the same into memory that is there already."""


class _RecordedProducts(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Notes every product of the calls inside, with its operands and where its result lay."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.found: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _PRODUCTS:
            self.found.append((_PRODUCTS[func], args, kwargs or {}, torch.empty_like(result)))
        return result


def floor_call(router: nn.Module, hidden_states: Tensor) -> Call:
    """The products of one call of a router on hidden states (T, D) again, on the same operands.

    They write into memory that is there. Where no product reads the input, as in the hash router, it is read once by a
    sum. Everything else that a router does, activations, scores, selection, allocations and Python, is what stands
    between its time and this.
    """
    with torch.no_grad(), _RecordedProducts() as recorded:
        router(hidden_states)
    products = recorded.found
    storage = hidden_states.untyped_storage().data_ptr()
    reads_input = any(
        isinstance(each, Tensor) and each.untyped_storage().data_ptr() == storage
        for _, args, _, _ in products
        for each in args
    )

    def call() -> None:
        if not reads_input:
            hidden_states.sum()
        for product, args, options, result in products:
            product(*args, **options, out=result)

    return call
