"""What a router did with a batch, pure functions. Axes: T tokens, E experts, K experts per token.

`router_probs` (T, E); `selected_experts` (T, K) int64; `tokens_per_expert` (E,) counts; `load` (E,) shares, sum 1.
Entropies are in nats. Every function returns a tensor, of no dimension where it returns one number, and wants T >= 1:
a mean over no token does not exist and is NaN. What cannot be (an expert that there is not, a count below 0, a K beyond
E) is refused with a ValueError that names the value.

A function below `@metric` is measured of every router on every input, stands in the JSON, and is shown by reports. The
decorator's record is all that has to be said about it.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

from routers.metric import metric
from routers.routing import count_assignments
from routers.routing.capacity import Capacity

CAPACITY_FACTOR = 1.25
"""Of the drop rate that is measured."""


def entropy(probs: Tensor) -> Tensor:
    """−Σ p ln p over the last axis, 0 ln 0 = 0: (…, E) -> (…)."""
    return 0.0 - torch.xlogy(probs, probs).sum(dim=-1)  # a plain minus would give −0 for a one-hot row


def _checked_load(load: Tensor) -> Tensor:
    """Counts or shares in float64, each finite and at least 0."""
    wrong = ~(load >= 0) | load.isinf()
    if bool(wrong.any()):
        raise ValueError(f"the load holds {load[wrong][0].item()}, expected finite counts or shares of at least 0")
    return load.double()


def _expect_top_k(router_probs: Tensor, top_k: int) -> None:
    if not 1 <= top_k <= router_probs.shape[-1]:
        raise ValueError(f"top_k is {top_k}, expected 1 to the number of experts, {router_probs.shape[-1]}")


@metric(
    "Entropy",
    "mean over tokens of the entropy of a token's router probabilities, in nats; ln 8 = 2.0794 is uniform",
    lambda seen: (seen.router_probs,),
    unit="nats",
    bounds=(0, "ln E"),
    format=".4f",
)
def token_entropy(router_probs: Tensor) -> Tensor:
    """Mean over tokens of the entropy of p_t: the entropy in the paper's tables. ln E if uniform, 0 if one-hot."""
    return entropy(router_probs).mean()


@metric(
    "Load entropy",
    "entropy of the experts' shares of assignments, in nats",
    lambda seen: (seen.load,),
    unit="nats",
    bounds=(0, "ln E"),
    better="higher",
    format=".4f",
)
def load_entropy(load: Tensor) -> Tensor:
    """Entropy of the shares of assignments: the entropy in the paper's text (III-E3). ln E at balance. Or of counts."""
    load = _checked_load(load)
    return entropy(load / load.sum())


@metric(
    "Mean top-k",
    "mean of the K largest probabilities, K the router's own, before they are normalised to sum to one",
    lambda seen: seen.probs_and_k,
    bounds=(0, 1),
    format=".4f",
)
def mean_top_k_prob(router_probs: Tensor, top_k: int) -> Tensor:
    """Mean of the K largest probabilities of each token, before renormalisation; 1/K if one-hot."""
    _expect_top_k(router_probs, top_k)
    return router_probs.topk(top_k, dim=-1).values.mean()


@metric(
    "Mean top-2",
    "mean of the two largest probabilities, whatever the router selects: the mean top-k of the paper's tables",
    lambda seen: (seen.router_probs,),
    bounds=(0, 1),
    format=".4f",
    paper=True,
)
def mean_top_2_prob(router_probs: Tensor) -> Tensor:
    """Mean of the two largest probabilities of each token (of one expert alone: 1), the paper's for every router."""
    return mean_top_k_prob(router_probs, min(2, router_probs.shape[-1]))


@metric(
    "Score STD",
    "standard deviation of all routing probabilities",
    lambda seen: (seen.router_probs,),
    bounds=(0, 1),
    format=".4f",
)
def score_std(router_probs: Tensor) -> Tensor:
    """Standard deviation of all routing probabilities (ddof 0), the paper's variance of the routing scores."""
    return router_probs.std(correction=0)


@metric(
    "Output STD",
    "standard deviation of the MoE layer's output",
    lambda seen: (seen.output,),
    bounds=(0, None),
    format=".4f",
)
def output_std(output: Tensor) -> Tensor:
    """Standard deviation of the MoE layer's output over tokens and features (ddof 0)."""
    return output.std(correction=0)


def tokens_per_expert(selected_experts: Tensor, num_experts: int, kept: Tensor | None = None) -> Tensor:
    """Counts n_e of assignments, (T, K) -> (E,) int64; `kept` (T, K) bool says which of them there are."""
    return count_assignments(selected_experts, num_experts, kept)


def expert_load(selected_experts: Tensor, num_experts: int, kept: Tensor | None = None) -> Tensor:
    """Shares of assignments f_e = n_e/(K·T), equation (15): (T, K) -> (E,), sum 1; of those alone that are kept."""
    counts = tokens_per_expert(selected_experts, num_experts, kept)
    return counts / (selected_experts.numel() if kept is None else kept.sum().clamp_min(1))


@metric(
    "MaxVio",
    "the largest count over the mean count, minus one",
    lambda seen: (seen.tokens_per_expert,),
    bounds=(0, "E - 1"),
    better="lower",
)
def max_violation(load: Tensor) -> Tensor:
    """max n / mean n − 1 (MaxVio, Wang et al. 2024): 0 at balance, E − 1 if one expert takes all. Counts or shares.

    Examples:
        >>> float(max_violation(torch.tensor([6, 2, 2, 2])))  # 6 over a mean of 3
        1.0
    """
    load = _checked_load(load)
    return load.max() / load.mean() - 1


@metric(
    "CV",
    "standard deviation of the experts' counts over their mean",
    lambda seen: (seen.tokens_per_expert,),
    name="cv",
    bounds=(0, None),
    better="lower",
)
def coefficient_of_variation(load: Tensor) -> Tensor:
    """std(n) / mean(n) with ddof 0, over all experts, idle ones too: 0 at balance. Counts or shares."""
    load = _checked_load(load)
    return load.std(correction=0) / load.mean()


@metric(
    "Gini",
    "Σ Σ |load difference| / (2 E Σ load); 0 is even",
    lambda seen: (seen.tokens_per_expert,),
    bounds=(0, "1 - 1/E"),
    better="lower",
)
def gini(load: Tensor) -> Tensor:
    """Σ_i Σ_j |n_i − n_j| / (2 E Σ n): 0 at balance, 1 − 1/E if one expert takes all. Counts or shares."""
    load = _checked_load(load)
    return (load[:, None] - load[None, :]).abs().sum() / (2 * len(load) * load.sum())


@metric(
    "Dead experts",
    "share of experts with a load below 0.1 %",
    lambda seen: (seen.tokens_per_expert,),
    bounds=(0, 1),
    better="lower",
    format=".1%",
)
def dead_experts(load: Tensor, threshold: float = 0.001) -> Tensor:
    """Share of the experts whose share of the load is below the threshold. Counts or shares."""
    load = _checked_load(load)
    if not bool(load.any()):
        return load.new_tensor(math.nan)
    return (load / load.sum() < threshold).double().mean()


@metric(
    "Specialisation",
    "entropy of the mean probabilities minus the mean entropy: what a token tells about its expert",
    lambda seen: (seen.router_probs,),
    unit="nats",
    bounds=(0, "ln E"),
    format=".4f",
)
def specialisation(router_probs: Tensor) -> Tensor:
    """H(mean p) − mean H(p): mutual information of token and expert. 0 if all tokens are routed alike, at most ln E."""
    return entropy(router_probs.mean(dim=0)) - token_entropy(router_probs)


def co_activation(selected_experts: Tensor, num_experts: int, kept: Tensor | None = None) -> Tensor:
    """P(j | i) = N_ij / N_i over all pairs of a token's experts: (T, K) -> (E, E), the diagonal 0; an idle i has 0.

    `kept` (T, K) bool says which slots there are.

    Examples:
        >>> co_activation(torch.tensor([[0, 1], [0, 2]]), 3)[0].tolist()  # of expert 0: half with 1, half with 2
        [0.0, 0.5, 0.5]
    """
    together = pair_counts(selected_experts, num_experts, kept)
    counts = together.diagonal().clone()
    together.fill_diagonal_(0)
    return together / counts.clamp_min(1)[:, None]


def pair_counts(selected_experts: Tensor, num_experts: int, kept: Tensor | None = None) -> Tensor:
    """N_ij, how many tokens selected both experts, and on the diagonal N_i: (T, K) -> (E, E) float64.

    `kept` (T, K) bool says which slots there are.
    """
    count_assignments(selected_experts, num_experts)  # refuses an expert that there is not
    chosen = torch.zeros(len(selected_experts), num_experts, dtype=torch.float64, device=selected_experts.device)
    # Added, because a slot that is not kept may name the expert of one that is.
    slots = torch.ones_like(selected_experts, dtype=chosen.dtype) if kept is None else kept.to(chosen.dtype)
    chosen.scatter_add_(1, selected_experts, slots)
    return chosen.T @ chosen


@metric(
    "Margin",
    "the Kth largest probability of a token minus the next one, K the router's own; none where all are selected",
    lambda seen: seen.probs_and_k,
    bounds=(0, 1),
    format=".4f",
)
def margin(router_probs: Tensor, top_k: int) -> Tensor:
    """Mean over tokens of p_(K) − p_(K+1), how clear the choice was; NaN where K = E leaves no choice."""
    _expect_top_k(router_probs, top_k)
    if top_k == router_probs.shape[-1]:
        return router_probs.new_tensor(math.nan)
    top = router_probs.topk(top_k + 1, dim=-1).values
    return (top[:, top_k - 1] - top[:, top_k]).mean()


@metric(
    "Experts/token",
    "mean number of experts of a token",
    lambda seen: seen.experts_per_token,
    bounds=(0, None),
    format=".2f",
)
def mean_experts_per_token(experts_per_token: Tensor) -> Tensor:
    """Mean of the tokens' numbers of experts, (T,) counts -> (): K, or less where a rule adapts the number."""
    return experts_per_token.double().mean()


@metric(
    "Experts/token STD",
    "standard deviation over tokens of their number of experts; 0 where each has the same",
    lambda seen: seen.experts_per_token,
    bounds=(0, None),
    format=".2f",
)
def experts_per_token_std(experts_per_token: Tensor) -> Tensor:
    """Standard deviation of the tokens' numbers of experts (ddof 0), (T,) counts -> ()."""
    return experts_per_token.double().std(correction=0)


def experts_per_token_shares(experts_per_token: Tensor, top_k: int) -> Tensor:
    """The share of tokens that have 0, 1, … K experts: (T,) counts -> (K + 1,), sum 1.

    Raises:
        ValueError: a token with less than none, or with more than K.
    """
    if experts_per_token.numel():
        least, most = map(int, experts_per_token.aminmax())
        if least < 0 or most > top_k:
            raise ValueError(f"experts_per_token hold {least} to {most}, expected 0 to top_k = {top_k}")
    return torch.bincount(experts_per_token, minlength=top_k + 1) / experts_per_token.numel()


def flip_rate(selected_a: Tensor, selected_b: Tensor) -> Tensor:
    """1 − |E_a ∩ E_b| / K, mean over tokens: how much of the selection two runs do not share. (T, K), (T, K) -> ()."""
    a, b = tuple(selected_a.shape), tuple(selected_b.shape)
    if a != b:
        raise ValueError(f"the selections are {a} and {b}, expected the same tokens and the same K of both")
    return 1 - agreement(selected_a, selected_b)


def agreement(original: Tensor, selected: Tensor) -> Tensor:
    """|E_original ∩ E_selected| / K_original, mean over tokens; the other K may differ. (T, K), (T, K') -> ()."""
    if len(original) != len(selected):
        raise ValueError(f"the selections are of {len(original)} and {len(selected)} tokens, expected the same tokens")
    return (original[:, :, None] == selected[:, None, :]).any(dim=-1).double().mean()


@metric(
    "Drop rate",
    "share of assignments that are dropped if each expert keeps at most 1.25 times its even share",
    lambda seen: (seen.tokens_per_expert, CAPACITY_FACTOR),
    bounds=(0, 1),
    better="lower",
    format=".1%",
)
def drop_rate(tokens_per_expert: Tensor, capacity_factor: float | Fraction) -> Tensor:
    """1 − kept/(K·T) if each expert keeps at most ⌈capacity_factor · (K·T)/E⌉ assignments (GShard): (E,) -> ().

    Exact until the last division, see `Capacity`.
    """
    if tokens_per_expert.is_floating_point():
        raise ValueError(f"tokens_per_expert are {tokens_per_expert.dtype}, expected counts in whole numbers")
    capacity = Capacity.of(capacity_factor)
    counts = [int(count) for count in _checked_load(tokens_per_expert).tolist()]
    assignments = sum(counts)
    rows = capacity.rows(assignments, len(counts))
    dropped = sum(max(0, count - rows) for count in counts)
    return torch.tensor(dropped / assignments if assignments else math.nan, dtype=torch.float64)


RANKS = 4
"""Of the imbalance over ranks that is measured."""


@metric(
    "Busiest of 4 ranks",
    "load of the busiest of 4 expert-parallel ranks over the mean, the experts placed in order",
    lambda seen: None if len(seen.tokens_per_expert) % RANKS else (seen.tokens_per_expert, RANKS),
    bounds=(1, RANKS),
    better="lower",
)
def rank_imbalance(load: Tensor, ranks: int) -> Tensor:
    """max/mean of the loads of R expert-parallel ranks, rank r with the experts r·E/R to (r + 1)·E/R − 1: (E,) -> ().

    1 at balance, R if one rank has all: what a step waits for, as all ranks wait for the busiest. Counts or shares.

    Raises:
        ValueError: R does not divide E.
    """
    if ranks < 1 or len(load) % ranks:
        raise ValueError(f"ranks is {ranks}, expected a divisor of the number of experts, {len(load)}")
    by_rank = _checked_load(load).view(ranks, -1).sum(dim=1)
    return by_rank.max() / by_rank.mean()
