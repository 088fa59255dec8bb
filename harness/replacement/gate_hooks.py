"""Hooks that hear what gates decide while their model runs.

Axes: B batch, S sequence, T = B·S tokens, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

Decision = tuple[Tensor, Tensor, Tensor]
"""A gate's output: logits (T, E), weights (T, K) and experts (T, K)."""


@contextmanager
def hear_gates(
    gates: Mapping[str, nn.Module], hear: Callable[[str, tuple[Any, ...], Decision], None]
) -> Iterator[None]:
    """Call `hear(name, inputs, decision)` after each forward pass of each gate, until the block ends."""

    def hook(name: str, _gate: nn.Module, inputs: tuple[Any, ...], decision: Decision) -> None:
        hear(name, inputs, decision)

    handles = [gate.register_forward_hook(partial(hook, name)) for name, gate in gates.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def without_padding(values: Tensor, attention_mask: Tensor | None) -> Tensor:
    """(…, N) -> (T, N), the rows of the tokens that count.

    Args:
        values: one row for each token.
        attention_mask: (B, S), 0 on padding; None where every token counts.
    """
    values = values.flatten(0, -2)
    return values if attention_mask is None else values[attention_mask.flatten().bool()]
