"""Hash router, equations (9) to (11). Axes: T tokens, D hidden size, E experts, L lanes of 64-bit words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from routers.base import Router
from routers.native.hashing import hash_tokens
from routers.registry import register_router
from routers.routing import Routing, TokenChoice
from routers.routing.mask import flat_mask
from routers.routing.token_ids import flat_token_ids, look_up

LANES = 32
FLOATS_PER_WORD = 2
MIX_1, MIX_2, GOLDEN = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15  # SplitMix64 (Steele et al. 2014)


@register_router("hash")
class HashRouter(Router):
    """e = hash(x) mod E, a one-hot distribution, no parameters and nothing learned.

    The key is the token's values, every bit of them as float32 (so 0.0 and −0.0 are two keys: a pass that made them one
    would cost half as much as the hash); or its id where `token_ids` are given (hash layers, Roller et al. 2021).
    Integer arithmetic wraps the same way everywhere, so the same values meet the same expert on every machine, with any
    number of threads and in any split into batches. Mind that hidden states computed in another batch or precision
    differ in their last bits, and then are other values: only ids are stable under that.

    A hash names one expert, so one is selected whatever `top_k` (which is checked and then 1).

    The values' hash is multilinear, Σ w_l · x_i mod 2⁶⁴ over the token's 64-bit words, with odd random weights, so that
    a change in any one value changes the sum, which is then mixed. Word i has the weight of lane l = i mod 32:
    words of a lane are added before they are multiplied, which reads the input once and takes half of the time that
    a weight for every word takes. What is given up: exchanging two words of a lane leaves the key as it was.

    Args:
        seed: draws the weights.
        token_counts: (V,) how often each token id occurs in real text. Ids are then dealt to the experts by descending
            count, each to the least loaded (Roller et al. 2021, section 3), instead of being hashed: a frequent word
            is a large part of any text, and no hash can split it.
        **sizes_and_options: see `Router`.

    Raises:
        ValueError: a selection rule: the hash selects by itself.
    """

    selects_by_itself = True

    word_weights: Tensor
    expert_of_id: Tensor | None

    def __init__(self, *, seed: int = 0, token_counts: Tensor | None = None, **sizes_and_options: Any) -> None:
        super().__init__(**sizes_and_options)
        self.top_k = 1
        self.seed = seed
        weights = torch.tensor(list(islice(_splitmix64(seed), LANES)), device="cpu")
        # Odd, so that a product mod 2⁶⁴ loses no bit. Drawn anew from the seed, so no part of the saved state. Those of
        # the lanes are repeated for every word, as the native kernel reads them.
        repeats = -(-self.hidden_size // (LANES * FLOATS_PER_WORD))
        self.register_buffer("word_weights", (weights | 1).repeat(repeats), persistent=False)
        table = None if token_counts is None else balanced_assignment(token_counts, self.num_experts)
        self.register_buffer("expert_of_id", table)

    def compute_router_probabilities(self, hidden_states: Tensor, token_ids: Tensor | None = None) -> Tensor:
        """One-hot, (…, D) -> (…, E)."""
        tokens = hidden_states.reshape(-1, self.hidden_size)
        probs = one_hot(self.assign(tokens, token_ids).unsqueeze(1), self.num_experts, _probs_dtype(hidden_states))
        return probs.view(*hidden_states.shape[:-1], self.num_experts)

    @property
    def layer_options(self) -> tuple[str, ...]:
        """As of every router; and counts are of token ids, which a language model's gate is not given."""
        return (*super().layer_options, *(() if self.expert_of_id is None else ("token_counts",)))

    def forward(self, hidden_states: Tensor, *, token_ids: Tensor | None = None, mask: Tensor | None = None) -> Routing:
        """Route a batch, see `Router.forward`. token_ids: (T,) or (B, S) integers; the values are not read then."""
        tokens = self.flatten(hidden_states)
        if token_ids is None:
            expert, weights = self._assign_by_values(tokens)
        else:
            expert = self.assign(tokens, flat_token_ids(token_ids, hidden_states.shape)).unsqueeze(1)
            weights = torch.ones(expert.shape, device=expert.device)
        if hidden_states.dtype == torch.float64:
            weights = weights.double()
        routing = OneExpert.of(num_experts=self.num_experts, selected_experts=expert, routing_weights=weights)
        return routing if mask is None else routing.masked(flat_mask(mask, hidden_states.shape))

    def assign(self, tokens: Tensor, token_ids: Tensor | None = None) -> Tensor:
        """The expert of each token, (T, D) and (T,) ids or None -> (T,) int64."""
        if token_ids is None:
            return self._assign_by_values(tokens)[0].squeeze(1)
        ids = flat_token_ids(token_ids.reshape(-1), tokens.shape)
        if self.expert_of_id is not None:
            return look_up(self.expert_of_id, ids)
        return self._to_expert(ids.long() * _signed(GOLDEN) + self.word_weights[0])

    def _assign_by_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Experts (T, 1) int64 and weights (T, 1) of 1, of tokens (T, D)."""
        # Each is asked for first: code that was not run for a while comes from memory, in ten microseconds a detach.
        values = tokens.detach() if tokens.requires_grad else tokens
        if values.dtype != torch.float32:
            values = values.to(torch.float32)
        if not values.is_contiguous():
            values = values.contiguous()
        found = hash_tokens(values, self.word_weights, self.num_experts, _SIGNED_MIX)
        if found is not None:
            return found
        expert = self._to_expert(self._hash_values(values)).unsqueeze(1)
        return expert, torch.ones(expert.shape, device=expert.device)

    def _hash_values(self, values: Tensor) -> Tensor:
        """By torch's operators, float32 (T, D) -> keys (T,) int64."""
        block = LANES * FLOATS_PER_WORD
        if self.hidden_size % block:
            values = F.pad(values, (0, -self.hidden_size % block))
        elif values.storage_offset() % FLOATS_PER_WORD:
            values = values.clone()  # torch views pairs of floats as words only from an even offset on
        lanes = values.view(torch.int64).view(len(values), values.shape[1] // block, LANES).sum(dim=1)
        lane_weights = self.word_weights[:LANES]
        # The same sum mod 2⁶⁴; a GPU has no product of int64 matrices.
        return torch.mv(lanes, lane_weights) if lanes.is_cpu else (lanes * lane_weights).sum(dim=1)

    def _to_expert(self, key: Tensor) -> Tensor:
        """One round of SplitMix64's finaliser, then the upper half, the better mixed one, modulo E: equation (10)."""
        key = (key ^ _shift_right(key, 32)) * _SIGNED_MIX
        last = self.num_experts - 1
        # Modulo a power of two is a mask, which takes the repeated sign off as well, and no division.
        return (key >> 32) & last if self.num_experts & last == 0 else _shift_right(key, 32) % self.num_experts


@dataclass(frozen=True, eq=False)
class OneExpert(TokenChoice):
    """Token choice of one expert with weight 1, whose one-hot probabilities are made when they are read."""

    def _make_probs(self) -> Tensor:
        """(T, E) one-hot, equation (11)."""
        return one_hot(self.selected_experts, self.num_experts, self.routing_weights.dtype)


def one_hot(expert: Tensor, num_experts: int, dtype: torch.dtype) -> Tensor:
    """(T, 1) int64 -> (T, E)."""
    return torch.zeros(len(expert), num_experts, dtype=dtype, device=expert.device).scatter_(1, expert, 1.0)


def _probs_dtype(hidden_states: Tensor) -> torch.dtype:
    return torch.promote_types(hidden_states.dtype, torch.float32)


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


_SIGNED_MIX = _signed(MIX_1)


def _splitmix64(seed: int) -> Iterator[int]:
    """An endless stream of int64, the same on every machine and version of torch."""
    mask = (1 << 64) - 1
    state = seed & mask
    while True:
        state = (state + GOLDEN) & mask
        number = ((state ^ (state >> 30)) * MIX_1) & mask
        number = ((number ^ (number >> 27)) * MIX_2) & mask
        yield _signed(number ^ (number >> 31))
