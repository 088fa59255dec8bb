"""Which attention kernel ran: what was dispatched, not what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

MARKS = ("attention", "flash_attn")
"""Of an operation's name, in torch and in the packages that bring kernels of their own."""


class AttentionKernels(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Inside the context, notes the operations that compute attention as one kernel.

    `scaled_dot_product_attention` has chosen among torch's kernels before anything is dispatched. Where it has chosen
    the plain formula there is no such operation, only products and a softmax.

    Attributes:
        names: namespace::operation, in the order in which they were first met.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Carry an operation out, and note it if it is one of these."""
        name = func._schema.name
        if any(mark in name for mark in MARKS) and name not in self.names:
            self.names.append(name)
        operation: Callable[..., Any] = func
        return operation(*args, **(kwargs or {}))
