"""Held-out perplexity of a model with other routers, and how many experts they choose as its own gates would.

Axes: B batch, S sequence, T = B·S tokens, D hidden size, K experts per token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.finetuning.settings import DivergedError
from harness.replacement.gate_forms import Decision
from harness.replacement.gate_hooks import decide, hear_gates, without_padding
from harness.text.perplexity import perplexity


@dataclass(frozen=True)
class Evaluation:
    """The quality of a model with other routers on held-out text.

    Attributes:
        perplexity: exp of the mean loss of the next token.
        agreement: the share of the original gate's K experts that the gate in its place selects too, given the same
            hidden states; the mean over tokens and layers.
    """

    perplexity: float
    agreement: float


def evaluate(
    model: Any,
    sequences: Sequence[Tensor],
    gates: Mapping[str, nn.Module],
    originals: Mapping[str, nn.Module],
) -> Evaluation:
    """Evaluate perplexity and agreement in one pass over the sequences.

    Args:
        model: the causal language model, in peft's wrapper or not.
        sequences: int64 token ids, one line each.
        gates: block -> the gate that decides there now.
        originals: block -> the gate that decided there at first, with the weights it had then.

    Raises:
        DivergedError: the perplexity is not finite.
    """
    shared, compared = dict.fromkeys(gates, 0), dict.fromkeys(gates, 0)
    mask: list[Tensor | None] = []

    def hear(name: str, inputs: tuple[Tensor, ...], decision: Decision) -> None:
        with torch.no_grad():
            wanted = without_padding(decide(originals[name], *inputs)[2], mask[-1])
        chosen = without_padding(decision[2], mask[-1])
        shared[name] += int((wanted[:, :, None] == chosen[:, None, :]).any(dim=-1).sum())
        compared[name] += wanted.numel()

    with _attention_mask(model, mask), hear_gates(gates, hear):
        value = perplexity(model, sequences)
    if not math.isfinite(value):
        raise DivergedError(f"the held-out perplexity is {value}")
    return Evaluation(value, sum(shared[name] / compared[name] for name in gates) / len(gates))


@contextmanager
def _attention_mask(model: nn.Module, current: list[Tensor | None]) -> Iterator[None]:
    """Keep the (B, S) mask of the call that the model is in, as the only item of the list."""

    def remember(_model: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        current[:] = [kwargs.get("attention_mask")]

    handle = model.register_forward_pre_hook(remember, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
