"""Quantile balancing: the bias with which each expert would have its even share (Kimi K3).

Axes: T tokens, E experts, K experts per token, N bins of a histogram.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from routers.balancing.bias_update import BiasBalancer
from routers.balancing.registry import register_balancer
from routers.balancing.tally import Tally

BINS = 1000
"""Of the report's histogram (appendix D)."""


def required_bias(ranked: Tensor, bias: Tensor, top_k: int) -> Tensor:
    """r_te = α_t − s_te, the bias with which token t would just take expert e: (T, E).

    α_t is the (K+1)-th largest of what is ranked, s_te + b_e.

    Args:
        ranked: (T, E), scores with the bias.
        bias: (E,), b.
        top_k: K.

    Raises:
        ValueError: K is not below E: an expert that every token takes needs no bias.
    """
    num_experts = ranked.shape[-1]
    if not 1 <= top_k < num_experts:
        raise ValueError(f"top_k is {top_k}, expected 1 to {num_experts - 1}, below the number of experts")
    cutoff = ranked.topk(top_k + 1, dim=-1).values[:, -1:]
    return cutoff - (ranked - bias)


def quantile_bias(router_scores: Tensor, bias: Tensor, top_k: int, mask: Tensor | None = None) -> Tensor:
    """b_e ← the K/E quantile over tokens of α_t − s_te, then the mean is removed: (E,). Exact.

    Kimi K3's technical report, equations 13 and 14 (as in Megatron-LM's pull request 6637): with b_e at that quantile,
    K·T/E tokens require less than b_e to take expert e, its even share. Between two values the quantile is interpolated
    linearly. One step of coordinate descent: the cutoffs α are those of the bias before. At balance the bias lies in an
    interval in which it may move without another selection, and stays in it.

    Args:
        router_scores: (T, E), s, without the bias.
        bias: (E,), b, with which the tokens were routed.
        top_k: K.
        mask: (T,), True or 1 where a token counts; None where every one does.

    Raises:
        ValueError: K is not below E, or no token counts.
    """
    scores = router_scores if mask is None else router_scores[mask.bool()]
    if not len(scores):
        raise ValueError("router_scores are of 0 tokens that count, expected at least 1")
    required = required_bias(scores + bias, bias, top_k)
    quantile = torch.quantile(required, top_k / required.shape[1], dim=0)
    return quantile - quantile.mean()


@dataclass(frozen=True)
class Histogram:
    """The required biases of a step, counted in bins of equal width: counts of batches and of processes add up.

    Attributes:
        low: () the lower end of the first bin.
        width: () of a bin.
        counts: (E, N) int64.
    """

    low: Tensor
    width: Tensor
    counts: Tensor

    @classmethod
    def empty(cls, bias: Tensor, num_bins: int = BINS) -> Histogram:
        """From min b − 1 to max b + 1, which scores between 0 and 1 cannot leave."""
        low, high = bias.min() - 1, bias.max() + 1
        counts = torch.zeros(len(bias), num_bins, dtype=torch.int64, device=bias.device)
        return cls(low, (high - low) / num_bins, counts)

    def add(self, required: Tensor) -> None:
        """Count the required biases (T, E) of a batch."""
        bins = ((required - self.low) / self.width).floor().long().clamp_(0, self.counts.shape[1] - 1)
        self.counts.scatter_add_(1, bins.t(), torch.ones_like(bins).t())

    def quantile(self, share: float) -> Tensor:
        """The quantile of each expert, (E,), interpolated inside its bin; there is at least one count."""
        total = self.counts.cumsum(dim=1)  # (E, N)
        wanted = total[:, -1:] * share
        # The first bin that the wanted count reaches.
        place = (total < wanted.ceil()).sum(dim=1, keepdim=True)
        inside = self.counts.gather(1, place)
        before = total.gather(1, place) - inside
        return self.low + (place + (wanted - before) / inside).squeeze(1) * self.width


@register_balancer("quantile")
class QuantileBalancer(BiasBalancer):
    """Sets the bias once a step to the K/E quantile of what tokens require, of all its batches and processes; no loss.

    As in the report the quantile comes from a histogram of 1,000 bins over [min b − 1, max b + 1], which adds up over
    batches and processes; it is exact to the width of a bin, 0.002 at first.

    Args:
        routers: with a `selection_bias` and scores between 0 and 1, a rule without groups, and K below E.
        num_bins: N.
        **shared: see `Balancer`.

    Raises:
        ValueError: a router without a bias, with groups, or less than one bin.
    """

    def __init__(self, routers: Mapping[str, nn.Module], *, num_bins: int = BINS, **shared: Any) -> None:
        super().__init__(routers, **shared)
        if num_bins < 1:
            raise ValueError(f"num_bins is {num_bins}, expected at least 1")
        for name, router in self.routers.items():
            if (groups := getattr(getattr(router, "selection", None), "num_groups", 1)) != 1:
                raise ValueError(
                    f"router {name!r} selects within {groups} groups, expected none: the quantile knows no groups"
                )
        self.num_bins = num_bins
        self._histograms: dict[str, Histogram] = {}
        self._shares: dict[str, float] = {}

    def note(self, name: str, counted: Tally) -> None:
        """Count what the batch's tokens require.

        Raises:
            ValueError: scores outside 0 to 1, whose required biases no histogram of this range holds.
        """
        bias, routing = self.bias(name), counted.counting
        top_k = routing.selected_experts.shape[-1]
        scores = routing.ranked - bias
        if scores.numel():
            low, high = (float(end) for end in scores.aminmax())
            if low < -1e-4 or high > 1 + 1e-4:
                worst = low if low < -1e-4 else high
                raise ValueError(
                    f"router {counted.name!r} ranks scores of {worst:.4g}, expected 0 to 1, in which the quantile is "
                    "counted: use a sigmoid or softmax rule"
                )
        histogram = self._histograms.setdefault(name, Histogram.empty(bias, self.num_bins))
        histogram.add(required_bias(routing.ranked, bias, top_k))
        self._shares[name] = top_k / routing.num_experts

    def change(self) -> None:
        """Set the biases; a step in which no token counted sets none."""
        for name, histogram in self._histograms.items():
            histogram.counts.copy_(self.processes.total(histogram.counts))
            if bool(histogram.counts.any()):
                quantile = histogram.quantile(self._shares[name])
                self.bias(name).copy_(quantile - quantile.mean())

    def begin(self) -> None:
        """Begin the histograms anew, around the bias as it is now."""
        self._histograms = {}
