"""Groups of neurons that fire together, all of one size: the experts that a dense feed-forward network falls into.

Axes: N neurons, T tokens, E groups.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def group_neurons(activity: Tensor, num_groups: int, *, rounds: int, generator: torch.Generator) -> Tensor:
    """Balanced k-means over the neurons' activity: groups of equal size, alike within.

    Two neurons are as alike as their activities over the tokens are correlated. In each round every group's centre is
    the mean of its members, and the best pairs of a neuron and a group with room are taken first (greedy; an optimal
    assignment would cost more and is not needed to tell groups apart).

    Args:
        activity: (N, T), how much each neuron contributes to each token.
        num_groups: E, which must divide N.
        rounds: how often centres are moved.
        generator: for the neurons that the groups begin with.

    Returns:
        (E, N / E) int64, the neurons of each group, ascending; every neuron is in exactly one.

    Raises:
        ValueError: E does not divide N.
    """
    N = activity.shape[0]
    if num_groups < 1 or N % num_groups:
        raise ValueError(f"{N} neurons do not fall into {num_groups} groups of one size")
    profiles = F.normalize(activity - activity.mean(dim=1, keepdim=True), dim=1)  # products are correlations
    centres = profiles[torch.randperm(N, generator=generator)[:num_groups]]
    for _ in range(rounds):
        groups = _fill(profiles @ centres.T, N // num_groups)
        centres = F.normalize(profiles[groups].mean(dim=1), dim=1)  # (E, T)
    return _fill(profiles @ centres.T, N // num_groups)


def _fill(likeness: Tensor, size: int) -> Tensor:
    """(N, E) -> (E, size): the best pairs first, each neuron once, no group beyond its size."""
    N, E = likeness.shape
    groups: list[list[int]] = [[] for _ in range(E)]
    free = [True] * N
    for pair in likeness.flatten().argsort(descending=True, stable=True).tolist():
        neuron, group = divmod(pair, E)
        if free[neuron] and len(groups[group]) < size:
            free[neuron] = False
            groups[group].append(neuron)
    return torch.tensor([sorted(group) for group in groups])
