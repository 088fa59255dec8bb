"""How well a model with other routers predicts text that it was not trained on, and how far they choose alike.

Axes: B batch, S sequence, T = B·S tokens, D hidden size, K experts per token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.finetuning.settings import DivergedError
from harness.text.perplexity import perplexity


@dataclass(frozen=True)
class Evaluation:
    """On held-out text.

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
    """Both figures from one pass over the sequences.

    Args:
        model: the causal language model, in peft's wrapper or not.
        sequences: int64 token ids, one line each.
        gates: block -> the gate that decides there now.
        originals: block -> the gate that decided there at first, with the weights it had then.

    Raises:
        DivergedError: the perplexity is not finite.
    """
    meters = {name: AgreementMeter(originals[name]) for name in gates}
    with _attention_mask(model) as mask, ExitStack() as stack:
        for name, gate in gates.items():
            stack.enter_context(meters[name].listening(gate, mask))
        value = perplexity(model, sequences)
    if not math.isfinite(value):
        raise DivergedError(f"the held-out perplexity is {value}")
    return Evaluation(value, sum(meter.agreement for meter in meters.values()) / len(meters))


class AgreementMeter:
    """Compares what a gate selects with what the original would have selected.

    Args:
        original: gives (logits, weights, experts (T, K)) for hidden states (T, D) or (B, S, D).
    """

    def __init__(self, original: nn.Module) -> None:
        self._original = original
        self._shared = self._all = 0

    @contextmanager
    def listening(self, gate: nn.Module, mask: list[Tensor | None]) -> Iterator[None]:
        """Hear that gate inside; the last of `mask` says which tokens count."""

        def hear(_gate: nn.Module, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
            with torch.no_grad():
                wanted = self._original(*inputs)[2].flatten(0, -2)
            chosen = output[2].flatten(0, -2)
            if mask and mask[-1] is not None:
                kept = mask[-1].flatten().bool()
                wanted, chosen = wanted[kept], chosen[kept]
            self._shared += int((wanted[:, :, None] == chosen[:, None, :]).any(dim=-1).sum())
            self._all += wanted.numel()

        handle = gate.register_forward_hook(hear)
        try:
            yield
        finally:
            handle.remove()

    @property
    def agreement(self) -> float:
        """The share so far."""
        return self._shared / self._all


@contextmanager
def _attention_mask(model: nn.Module) -> Iterator[list[Tensor | None]]:
    """The (B, S) mask of the call that the model is in, the only item of the list."""
    current: list[Tensor | None] = []

    def remember(_model: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        current[:] = [kwargs.get("attention_mask")]

    handle = model.register_forward_pre_hook(remember, with_kwargs=True)
    try:
        yield current
    finally:
        handle.remove()
