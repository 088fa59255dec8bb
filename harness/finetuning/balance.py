"""The load of a model's experts while it trains, and the loss that evens it out, over all processes' tokens.

Axes: T tokens, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from harness.finetuning.processes import all_reduce_sum, process_count
from routers.metrics import coefficient_of_variation, max_violation, tokens_per_expert
from routers.routing import expert_softmax


class LoadBalance:
    """Hears what gates decide, and makes a loss and statistics of it.

    The loss is E Σ f_e P_e, the mean over gates: f_e the share of assignments to expert e, P_e its mean probability
    (Fedus et al. 2021, equation 4; equation 17 of the paper without its α, times E). It is 1 at balance. Both f and P
    are those of the batch of all processes together: a process sees few tokens, and evening out each process's own few
    would forbid experts to specialise (Qiu et al. 2025, arXiv 2501.11873). Padding does not count.

    Args:
        gates: name -> a gate that gives (logits (T, E), weights (T, K), experts (T, K)).
    """

    def __init__(self, gates: Mapping[str, nn.Module]) -> None:
        self._gates = gates
        self._heard: list[tuple[Tensor, Tensor]] = []  # logits and selected experts
        self._kept: Tensor | None = None
        self._counts: list[Tensor] = []

    @contextmanager
    def listening(self, attention_mask: Tensor | None) -> Iterator[None]:
        """Hear the gates inside; (B, S) mask, 0 on padding. What is recomputed in the backward pass is not heard."""

        def hear(_gate: nn.Module, _inputs: Any, output: tuple[Tensor, Tensor, Tensor]) -> None:
            # Nothing is computed here: a checkpointed layer must do the same when it is recomputed, unheard.
            self._heard.append((output[0], output[2]))

        self._heard = []
        self._kept = None if attention_mask is None else attention_mask.flatten().bool()
        handles = [gate.register_forward_hook(hear) for gate in self._gates.values()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def loss(self) -> Tensor:
        """Of what was heard last: a scalar whose mean over the processes, in value and gradient, is the global loss."""
        if not self._heard:
            raise ValueError("no gate was heard: `listening` must go around the forward pass")
        all_probs = [expert_softmax(self._tokens(logits)) for logits, _ in self._heard]
        sizes = [probs.shape[-1] for probs in all_probs]
        local = [
            tokens_per_expert(self._tokens(selected), size)
            for (_, selected), size in zip(self._heard, sizes, strict=True)
        ]
        tokens = torch.tensor([len(all_probs[0])], device=local[0].device)
        *counts, total = torch.split(all_reduce_sum(torch.cat([*local, tokens])), [*sizes, 1])
        self._add(counts)
        # The mean of P over the processes weighs each by its share of the tokens.
        share = process_count() / total.clamp_min(1)
        losses = [
            len(count) * (count / count.sum().clamp_min(1) * probs.sum(dim=0) * share).sum()
            for count, probs in zip(counts, all_probs, strict=True)
        ]
        return torch.stack(losses).mean()

    def _tokens(self, values: Tensor) -> Tensor:
        """(…, N) -> (T, N), without padding."""
        values = values.flatten(0, -2)
        return values if self._kept is None else values[self._kept]

    def _add(self, counts: list[Tensor]) -> None:
        earlier = self._counts or [torch.zeros_like(count) for count in counts]
        self._counts = [before + count for before, count in zip(earlier, counts, strict=True)]

    def take_statistics(self) -> dict[str, float]:
        """Of all tokens since the last call, the mean over gates: `max_violation` and `load_cv`."""
        counts, self._counts = self._counts, []
        return {
            name: float(torch.stack([measure(count) for count in counts]).mean())
            for name, measure in (("max_violation", max_violation), ("load_cv", coefficient_of_variation))
        }
