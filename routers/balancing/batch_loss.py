"""The load-balancing loss of a batch: the counts of the batch, or of all batches of a step.

Axes: T tokens, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from routers.balancing.balancer import Balancer
from routers.balancing.registry import register_balancer
from routers.balancing.tally import Tally


def counted_loss(tokens_per_expert: Tensor, router_probs: Tensor, share: Tensor | float | None = None) -> Tensor:
    """E Σ_e f_e P_e, (), with counts that may be of more tokens than the probabilities. At balance: 1.

    Fedus et al. 2021, equation 4, without α. Where f_e is counted over the global batch (all processes, all accumulated
    batches), experts may specialise inside a process's few tokens (Qiu et al. 2025, arXiv 2501.11873).

    Args:
        tokens_per_expert: (E,) counts; f_e is the share of expert e in them. No gradient.
        router_probs: (T, E) of the tokens that count; P_e is their sum times `share`.
        share: 1/T if None.
    """
    share = 1 / max(len(router_probs), 1) if share is None else share
    # In this order: sums of other orders end in other digits, and curves that are compared would move.
    load = tokens_per_expert / tokens_per_expert.sum().clamp_min(1)
    return len(tokens_per_expert) * (load * router_probs.sum(dim=0) * share).sum()


@register_balancer("switch")
class SwitchBalancer(Balancer):
    """E Σ f P with the counts of each batch, of all processes together: 1 at balance, E/K if K experts take all."""

    def router_loss(self, counted: Tally) -> Tensor:
        """The loss of one router, ()."""
        return counted_loss(counted.tokens_per_expert, counted.counting.router_probs, counted.share)


@register_balancer("global_batch")
class GlobalBatchBalancer(Balancer):
    """E Σ f P with the counts of the global batch: all processes and all batches of the step so far; 1 at balance.

    A step's last batch has the counts of the whole step, an earlier one those of the batches up to it, because its
    backward pass comes before the others are seen (the buffer of Qiu et al. 2025, section 3).

    Args:
        routers: see `Balancer`.
        **shared: likewise.
    """

    def __init__(self, routers: Mapping[str, nn.Module], **shared: Any) -> None:
        super().__init__(routers, **shared)
        self._counts: dict[str, Tensor] = {}

    def router_loss(self, counted: Tally) -> Tensor:
        """The loss of one router, (), with the counts since the last `update`."""
        earlier = self._counts.get(counted.name)
        counts = counted.tokens_per_expert if earlier is None else earlier + counted.tokens_per_expert
        self._counts[counted.name] = counts
        return counted_loss(counts, counted.counting.router_probs, counted.share)

    def begin(self) -> None:
        """Begin the counts anew."""
        self._counts = {}
