"""Selections that nobody decided: how a layer's time hangs on its experts' load, which is stated and not the router's.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.router.scenarios import MakeExperts, RouterScenario
from bench.router.seeds import derive_seed
from bench.timing.interleave import Call
from routers import Router
from routers.routing import TokenChoice

Shares = Callable[[int], Tensor]
"""E -> (E,) float64, in proportion to the rows that each expert is to have."""


def uniform(num_experts: int) -> Tensor:
    """Every expert alike."""
    return torch.ones(num_experts, dtype=torch.float64)


def zipf(num_experts: int) -> Tensor:
    """Zipf's law with the exponent 1: the e-th expert has 1/e of what the first has."""
    return 1 / torch.arange(1, num_experts + 1, dtype=torch.float64)


def half(num_experts: int) -> Tensor:
    """The first expert has as much as all others together, who are alike."""
    shares = torch.ones(num_experts, dtype=torch.float64)
    shares[0] = max(num_experts - 1, 1)
    return shares


def rows_per_expert(shares: Tensor, num_tokens: int, top_k: int) -> list[int]:
    """Whole numbers in proportion to shares (E,), T·K in all and none above T.

    A token selects an expert once at most. What an expert would have beyond T goes to the others, in proportion; what
    is left of rounding down goes to the largest remainders.

    Raises:
        ValueError: K is above the number of experts with a share.
    """
    if top_k > int((shares > 0).sum()):
        raise ValueError(f"top_k is {top_k}, expected at most the {int((shares > 0).sum())} experts with a share")
    full = torch.zeros_like(shares, dtype=torch.bool)
    while True:
        left = num_tokens * (top_k - int(full.sum()))
        open_shares = shares.masked_fill(full, 0.0)
        ideal = open_shares * left / open_shares.sum().clamp_min(torch.finfo(shares.dtype).tiny)
        over = ideal > num_tokens
        if not over.any():
            break
        full |= over
    ideal = ideal.masked_fill(full, num_tokens).round(decimals=6)
    rows = ideal.floor()
    missing = num_tokens * top_k - int(rows.sum())
    rows[(ideal - rows).argsort(descending=True, stable=True)[:missing]] += 1
    return [int(number) for number in rows]


def stated_selection(shares: Tensor, num_tokens: int, top_k: int) -> Tensor:
    """(T, K) int64 with `rows_per_expert` of each expert, and no expert twice in a token.

    An expert's rows are consecutive down the columns, which no more than T of them leave in T different tokens. The
    tokens are then shuffled, seeded: an expert's are spread over the batch, as a router's are.
    """
    rows = torch.tensor(rows_per_expert(shares, num_tokens, top_k))
    in_turn = torch.repeat_interleave(torch.arange(len(rows)), rows).view(top_k, num_tokens).T
    generator = torch.Generator().manual_seed(derive_seed("stated load", 0))
    return in_turn[torch.randperm(num_tokens, generator=generator)].contiguous()


def stated_load(name: str, label: str, description: str, shares: Shares) -> RouterScenario:
    """A scenario in which the layer carries out a stated selection.

    It is measured of one router alone, because of a router it takes nothing but E and K.

    Args:
        name: of the scenario.
        label: for a heading.
        description: of the load, for the end of a sentence.
        shares: of the experts.
    """

    def prepare(router: Router, hidden_states: Tensor, make_experts: MakeExperts) -> Call:
        experts = make_experts()
        chosen = stated_selection(shares(router.num_experts), len(hidden_states), router.top_k)
        chosen = chosen.to(hidden_states.device)
        weights = torch.full_like(chosen, 1 / router.top_k, dtype=torch.float32)
        return lambda: _through_experts(hidden_states, chosen, weights, router.num_experts, experts)

    return RouterScenario(
        name=name,
        label=label,
        description=f"dispatch, experts and combination of the whole batch without a router, {description}",
        prepare=prepare,
        with_experts=True,
        measured_by_default=False,
        routers=lambda: ["linear"],
    )


def _through_experts(
    hidden_states: Tensor, chosen: Tensor, weights: Tensor, num_experts: int, experts: nn.Module
) -> Tensor:
    """(T, D) -> (T, D). The routing is made anew: one that is kept would have its rows sorted already."""
    routing = TokenChoice(num_experts, selected_experts=chosen, routing_weights=weights)
    return routing.combine(experts(*routing.dispatch(hidden_states)))
