"""The load-balancing loss of each sequence by itself (DeepSeek-V3).

Axes: B batch, S sequence, E experts, K experts per token.
"""

from __future__ import annotations

import torch
from torch import Tensor

from routers.balancing.balancer import Balancer
from routers.balancing.registry import register_balancer
from routers.balancing.tally import Tally
from routers.routing import divided_by_sum


def sequence_losses(router_scores: Tensor, selected_experts: Tensor, mask: Tensor | None = None) -> Tensor:
    """Σ_e f_e P_e of each sequence, DeepSeek-V3's equations 17 to 20 without α: (B,). At balance: 1.

    f_e = E/(K·T) n_e with n_e the sequence's tokens that have expert e among their K, and P_e the sequence's mean of
    s_te / Σ_j s_tj; T is the number of its tokens that count. A sequence without any has 0.

    Args:
        router_scores: (B, S, E), not negative; need not sum to one, and count as uniform where all are 0.
        selected_experts: (B, S, K), those of equation 18: the K of the largest scores, without a bias.
        mask: (B, S), True or 1 where a token counts; None where every one does.

    Raises:
        ValueError: shapes that do not belong together.
    """
    batch, length, num_experts = router_scores.shape
    if selected_experts.shape[:2] != (batch, length):
        raise ValueError(
            f"selected_experts have shape {tuple(selected_experts.shape)}, expected ({batch}, {length}, K) beside "
            f"router_scores {tuple(router_scores.shape)}"
        )
    if mask is not None and mask.shape != (batch, length):
        raise ValueError(f"mask has shape {tuple(mask.shape)}, expected ({batch}, {length})")
    counting = router_scores.new_ones(batch, length) if mask is None else mask.to(router_scores.dtype)
    tokens = counting.sum(dim=1).clamp_min(1)[:, None]  # (B, 1)
    top_k = selected_experts.shape[-1]
    slots = counting[:, :, None].expand(-1, -1, top_k).flatten(1)
    counts = router_scores.new_zeros(batch, num_experts).scatter_add_(1, selected_experts.flatten(1), slots)
    # Not by multiplying: what padding holds may be NaN.
    scores = router_scores if mask is None else router_scores.where(mask.bool()[:, :, None], 0.0)
    mean_probs = (divided_by_sum(scores) * counting[:, :, None]).sum(dim=1) / tokens
    return (num_experts / (top_k * tokens) * counts * mean_probs).sum(dim=1)


@register_balancer("sequence")
class SequenceBalancer(Balancer):
    """DeepSeek-V3's sequence-wise loss, the mean over the sequences of all processes; 1 at balance.

    It counts, as equation 18 says, the K largest scores of a token without the bias, which are those that are selected
    where a rule has no bias and no groups. Its α was 1e-4 in DeepSeek-V3, beside the bias update.
    """

    def router_loss(self, counted: Tally) -> Tensor:
        """The loss of one router, ().

        Raises:
            ValueError: the batch's shape is not known, because no mask (B, S) was given.
        """
        if counted.shape is None:
            raise ValueError("mask is not (B, S): the sequence-wise loss needs to know where sequences begin")
        scores = counted.routing.router_scores
        top_k = counted.routing.selected_experts.shape[-1]
        largest = scores.topk(top_k, dim=-1).indices
        mask = counted.mask.view(counted.shape) if counted.mask is not None else None
        losses = sequence_losses(scores.view(*counted.shape, -1), largest.view(*counted.shape, -1), mask)
        return torch.sum(losses) * (counted.processes / counted.sequences.clamp_min(1))
