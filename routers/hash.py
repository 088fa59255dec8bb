"""Hash router, equations (9) to (11). Axes: T tokens, D hidden size, E experts, G groups of L lanes of 64 bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from routers.base import Router
from routers.registry import register_router
from routers.routing import Routing, TokenChoice

LANES = 32
FLOATS_PER_WORD = 2
MIX_1, MIX_2, GOLDEN = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15  # SplitMix64 (Steele et al. 2014)


@register_router("hash")
class HashRouter(Router):
    """e = hash(x) mod E, a one-hot distribution, no parameters and nothing learned.

    The key is the token's values, as float32, every bit of them; or its id where `token_ids` are given (hash layers,
    Roller et al. 2021). Integer arithmetic wraps the same way everywhere, so the same values meet the same expert on
    every machine, with any number of threads and in any split into batches. Mind that hidden states computed in another
    batch or precision differ in their last bits, and then are other values: only ids are stable under that.

    A hash names one expert, so one is selected whatever `top_k` (which is checked and then 1).

    The values' hash is multilinear (Σ w_i · x_i mod 2⁶⁴ over 64-bit words, odd random w_i) with a SplitMix64 finaliser.
    The weight of the word in group g and lane l is a_g + b_l, so that the sum over all words is had from two plain
    reductions and two short products, at the cost of reading the input.

    Args:
        seed: draws the weights.
        token_counts: (V,) how often each token id occurs in real text. Ids are then dealt to the experts by descending
            count, each to the least loaded (Roller et al. 2021, section 3), instead of being hashed: a frequent word
            is a large part of any text, and no hash can split it.
        **sizes_and_options: see `Router`.
    """

    group_weights: Tensor
    lane_weights: Tensor
    expert_of_id: Tensor | None

    def __init__(self, *, seed: int = 0, token_counts: Tensor | None = None, **sizes_and_options: Any) -> None:
        super().__init__(**sizes_and_options)
        self.top_k = 1
        self.seed = seed
        groups = -(-self.hidden_size // (LANES * FLOATS_PER_WORD))
        numbers = _splitmix64(seed)
        weights = torch.tensor([next(numbers) for _ in range(groups + LANES)])
        # One of each pair even, one odd: their sums, the words' weights, are odd and so lose no bit.
        self.register_buffer("group_weights", weights[:groups] & ~1, persistent=False)
        self.register_buffer("lane_weights", weights[groups:] | 1, persistent=False)
        table = None if token_counts is None else balanced_assignment(token_counts, self.num_experts)
        self.register_buffer("expert_of_id", table)

    def compute_router_probabilities(self, hidden_states: Tensor, token_ids: Tensor | None = None) -> Tensor:
        """One-hot, (…, D) -> (…, E)."""
        tokens = hidden_states.reshape(-1, self.hidden_size)
        probs = self._one_hot(self.assign(tokens, token_ids), hidden_states.dtype)
        return probs.view(*hidden_states.shape[:-1], self.num_experts)

    def forward(self, hidden_states: Tensor, *, token_ids: Tensor | None = None, **_: Any) -> Routing:
        """Route a batch, see `Router.forward`. token_ids: (T,) or (B, S) integers; the values are not read then."""
        tokens = self.flatten(hidden_states)
        expert = self.assign(tokens, token_ids)
        probs = self._one_hot(expert, hidden_states.dtype)
        weights = torch.ones(len(tokens), 1, dtype=probs.dtype, device=tokens.device)
        return TokenChoice(self.num_experts, probs=probs, selected_experts=expert.unsqueeze(1), routing_weights=weights)

    def assign(self, tokens: Tensor, token_ids: Tensor | None = None) -> Tensor:
        """The expert of each token, (T, D) and (T,) ids or None -> (T,) int64."""
        if token_ids is None:
            return self._to_expert(self._hash_values(tokens))
        ids = token_ids.reshape(-1)
        if len(ids) != len(tokens):
            raise ValueError(f"token_ids hold {len(ids)} ids, expected one for each of the {len(tokens)} tokens")
        if self.expert_of_id is not None:
            return self.expert_of_id[ids]
        return self._to_expert(ids.long() * _signed(GOLDEN) + self.lane_weights[0])

    def _hash_values(self, tokens: Tensor) -> Tensor:
        # Adding 0.0 turns −0.0 into 0.0: equal values, equal hash.
        values = tokens.detach().to(torch.float32) + 0.0
        block = LANES * FLOATS_PER_WORD
        if self.hidden_size % block:
            values = F.pad(values, (0, -self.hidden_size % block))
        words = values.view(torch.int64).view(len(tokens), -1, LANES)
        by_group = (words.sum(dim=2) * self.group_weights).sum(dim=1)
        by_lane = (words.sum(dim=1) * self.lane_weights).sum(dim=1)
        return by_group + by_lane

    def _to_expert(self, key: Tensor) -> Tensor:
        """SplitMix64's finaliser, then modulo E, equation (10)."""
        key = (key ^ _shift_right(key, 30)) * _signed(MIX_1)
        key = (key ^ _shift_right(key, 27)) * _signed(MIX_2)
        return _shift_right(key ^ _shift_right(key, 31), 1) % self.num_experts

    def _one_hot(self, expert: Tensor, dtype: torch.dtype) -> Tensor:
        probs = torch.zeros(
            len(expert), self.num_experts, dtype=torch.promote_types(dtype, torch.float32), device=expert.device
        )
        return probs.scatter_(1, expert.unsqueeze(1), 1.0)


def balanced_assignment(token_counts: Tensor, num_experts: int) -> Tensor:
    """The expert of each token id, (V,) counts -> (V,) int64: by descending count, each to the least loaded expert."""
    load = [0] * num_experts
    table = torch.empty(len(token_counts), dtype=torch.int64)
    counts = token_counts.tolist()
    for token in token_counts.argsort(descending=True, stable=True).tolist():
        expert = load.index(min(load))
        table[token] = expert
        # An id never seen still takes a place, so that ids outside the sample are dealt out evenly too.
        load[expert] += max(counts[token], 1)
    return table


def _shift_right(key: Tensor, bits: int) -> Tensor:
    """Logical shift; torch's own repeats the sign."""
    return (key >> bits) & ((1 << (64 - bits)) - 1)


def _signed(number: int) -> int:
    """A 64-bit pattern as int64."""
    return number - (1 << 64) if number >> 63 else number


def _splitmix64(seed: int) -> Iterator[int]:
    """An endless stream of int64, the same on every machine and version of torch."""
    mask = (1 << 64) - 1
    state = seed & mask
    while True:
        state = (state + GOLDEN) & mask
        number = ((state ^ (state >> 30)) * MIX_1) & mask
        number = ((number ^ (number >> 27)) * MIX_2) & mask
        yield _signed(number ^ (number >> 31))
