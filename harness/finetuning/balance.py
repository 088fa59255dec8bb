"""The load of a model's experts while it trains, and the loss that evens it out, over all processes' tokens.

Axes: T tokens, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from harness.finetuning.processes import all_reduce_sum, process_count
from harness.replacement.gate_hooks import Decision, hear_gates, refuse_lost_gradient, without_padding
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
        self._mask: Tensor | None = None
        self._counts: list[Tensor] = []

    @contextmanager
    def listening(self, attention_mask: Tensor | None) -> Iterator[None]:
        """Hear the gates inside; (B, S) mask, 0 on padding. What is recomputed in the backward pass is not heard."""
        self._heard, self._mask = [], attention_mask
        # Nothing is computed here: a checkpointed layer must do the same when it is recomputed, unheard.
        with hear_gates(self._gates, self._hear):
            yield

    def _hear(self, _name: str, _inputs: object, decision: Decision) -> None:
        self._heard.append((refuse_lost_gradient(decision[0]), decision[2]))

    def loss(self) -> Tensor:
        """A scalar whose mean over the processes, in value and gradient, is the balancing loss of the last pass.

        Its backward pass is a ValueError under checkpointing with `use_reentrant=True`, which loses the gradient.
        """
        if not self._heard:
            raise ValueError("no gate was heard: `listening` must go around the forward pass")
        all_probs = [expert_softmax(without_padding(logits, self._mask)) for logits, _ in self._heard]
        sizes = [probs.shape[-1] for probs in all_probs]
        local = [
            tokens_per_expert(without_padding(selected, self._mask), size)
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

    def _add(self, counts: list[Tensor]) -> None:
        earlier = self._counts or [torch.zeros_like(count) for count in counts]
        self._counts = [before + count for before, count in zip(earlier, counts, strict=True)]

    def take_statistics(self) -> dict[str, float]:
        """The statistics `max_violation` and `load_cv` of all tokens since the last call, each the mean over gates."""
        counts, self._counts = self._counts, []
        return {
            name: float(torch.stack([measure(count) for count in counts]).mean())
            for name, measure in (("max_violation", max_violation), ("load_cv", coefficient_of_variation))
        }
