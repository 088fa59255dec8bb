"""Everything that is counted of a trace in one pass over its tokens, in memory that does not grow with them.

Axes: n tokens of a piece, L layers, E experts, K experts per token, W windows of tokens, G groups of tokens (domains).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from reports.traces.measuring.measures import entropy
from reports.traces.selection import SELECTIONS
from reports.traces.tokens import Piece, Tokens
from reports.traces.trace import Array

LARGEST_PAIRS = 40_000_000
"""Layers times experts squared, for which all pairs are counted; of more none are."""
MOST_PAIRS = 200_000_000
"""So many pairs of experts are counted; of a larger trace those of evenly spread tokens."""


_TOGETHER = 64
"""So many pairs of slots are counted together."""


def count_by_group(experts: Array, groups: Array, number: int, num_experts: int) -> Array:
    """Assignments of each group's tokens: (n, L, K), (n,) from 0 to G − 1 -> (G, L, E) int64; empty slots count not."""
    layers = experts.shape[1]
    # One place more for the slots that are empty.
    places = experts.reshape(len(experts), layers, -1).astype(np.intp) + 1
    places += (np.arange(layers) * (num_experts + 1))[None, :, None]
    counts = np.zeros((number, layers * (num_experts + 1)), dtype=np.int64)
    for group in np.unique(groups):
        found = places if (groups == group).all() else places[groups == group]
        counts[group] = np.bincount(found.ravel(), minlength=counts.shape[1])
    return counts.reshape(number, layers, num_experts + 1)[:, :, 1:]


def count_pairs(experts: Array, num_experts: int) -> Array:
    """How many tokens have experts i and j both: (n, L, K) -> (L, E, E), symmetric, the diagonal 0."""
    side = num_experts + 1
    places = experts.transpose(1, 2, 0).astype(np.intp) + 1
    first, second = np.triu_indices(places.shape[1], 1)
    found = np.zeros((len(places), side * side), dtype=np.int64)
    for layer, slots in enumerate(places):
        for some in np.array_split(np.arange(len(first)), -(-len(first) // _TOGETHER)):
            pairs = slots[first[some]] * side + slots[second[some]]
            found[layer] += np.bincount(pairs.ravel(), minlength=side * side)
    one_way = found.reshape(len(places), side, side)[:, 1:, 1:]
    return one_way + one_way.transpose(0, 2, 1)


@dataclass
class Probabilities:
    """Sums over tokens of what router probabilities say, of each layer.

    Attributes:
        tokens: T.
        entropy: Σ H(p), (L,).
        top_k: Σ of the mean of the K largest, (L,).
        top_2: Σ of the mean of the two largest, (L,).
        margin: Σ p_(K) − p_(K+1), (L,); NaN where all experts are selected.
        mean: Σ p, (L, E).
        squares: Σ p², (L,).
    """

    tokens: int
    entropy: Array
    top_k: Array
    top_2: Array
    margin: Array
    mean: Array
    squares: Array

    @classmethod
    def of(cls, layers: int, num_experts: int) -> Probabilities:
        """Of no token."""
        sums = np.zeros((5, layers))
        return cls(0, sums[0], sums[1], sums[2], sums[3], np.zeros((layers, num_experts)), sums[4])

    def add(self, piece: Piece) -> None:
        """Of a piece that has logits."""
        top_k = piece.part.top_k
        self.tokens += len(piece.experts)
        for layer, logits in enumerate(piece.logits or []):
            probs = SELECTIONS[piece.part.selection](logits)
            ranked = -np.sort(-probs, axis=-1)
            below = ranked[:, top_k] if top_k < ranked.shape[1] else np.full(len(ranked), np.nan)
            self.entropy[layer] += entropy(probs).sum(dtype=np.float64)
            self.top_k[layer] += ranked[:, :top_k].mean(axis=-1).sum(dtype=np.float64)
            self.top_2[layer] += ranked[:, :2].mean(axis=-1).sum(dtype=np.float64)
            self.margin[layer] += (ranked[:, top_k - 1] - below).sum(dtype=np.float64)
            self.mean[layer] += probs.sum(axis=0, dtype=np.float64)
            self.squares[layer] += np.square(probs, dtype=np.float64).sum()

    def measures(self) -> dict[str, Array]:
        """The metrics of `routers.metrics` that are made of probabilities, each (L,)."""
        mean = self.mean / self.tokens
        number = mean.shape[-1]
        token_entropy = self.entropy / self.tokens
        variance = self.squares / self.tokens / number - np.square(mean.mean(axis=-1))
        return {
            "token_entropy": token_entropy,
            "mean_top_k_prob": self.top_k / self.tokens,
            "mean_top_2_prob": self.top_2 / self.tokens,
            "score_std": np.sqrt(np.maximum(variance, 0)),
            "specialisation": entropy(mean) - token_entropy,
            "margin": self.margin / self.tokens,
        }


@dataclass
class Counts:
    """What was counted.

    Attributes:
        tokens: of each window, (W,).
        load: assignments by window, (W, L, E).
        by_domain: assignments by domain, (G, L, E), or None.
        pairs: tokens that have two experts both, (L, E, E), symmetric; None where K is 1.
        pair_load: assignments of the tokens whose pairs were counted, (L, E).
        pair_tokens: how many those are.
        weights: Σ of the routing weights by rank, (L, K), or None.
        importance: Σ of the routing weights by expert, (L, E), or None.
        probabilities: None where there are no logits.
        experts_per_token: Σ and Σ of squares of the tokens' numbers of experts, (2, L).
    """

    tokens: Array
    load: Array
    by_domain: Array | None
    pairs: Array | None
    pair_load: Array
    pair_tokens: int = 0
    weights: Array | None = None
    importance: Array | None = None
    probabilities: Probabilities | None = None
    experts_per_token: Array = field(default_factory=lambda: np.zeros((2, 1)))


def count(tokens: Tokens, windows: Array, number: int, domains: Array | None, domain_count: int) -> Counts:
    """Count all that is counted.

    Args:
        tokens: the trace.
        windows: (T,), the number of each token's window, from 0 to W − 1.
        number: W.
        domains: (T,), the number of each token's domain, or None.
        domain_count: G.
    """
    layers, experts, top_k = tokens.first.num_layers, tokens.num_experts, tokens.first.top_k
    pairs_of_all = tokens.num_tokens * layers * top_k * (top_k - 1) // 2
    every = max(1, -(-pairs_of_all // MOST_PAIRS))
    paired = top_k > 1 and layers * experts**2 <= LARGEST_PAIRS
    weighed = all(each.weights is not None for each in tokens.parts)
    scored = all(each.logits is not None for each in tokens.parts)
    found = Counts(
        tokens=np.zeros(number, dtype=np.int64),
        load=np.zeros((number, layers, experts), dtype=np.int64),
        by_domain=None if domains is None else np.zeros((domain_count, layers, experts), dtype=np.int64),
        pairs=np.zeros((layers, experts, experts), dtype=np.int64) if paired else None,
        pair_load=np.zeros((layers, experts), dtype=np.int64),
        weights=np.zeros((layers, top_k)) if weighed else None,
        importance=np.zeros((layers, experts)) if weighed else None,
        probabilities=Probabilities.of(layers, experts) if scored else None,
        experts_per_token=np.zeros((2, layers)),
    )
    for piece in tokens.pieces():
        if len(piece.experts):
            _add(found, piece, windows[piece.positions], None if domains is None else domains[piece.positions], every)
    return found


def _add(found: Counts, piece: Piece, windows: Array, domains: Array | None, every: int) -> None:
    number, layers, experts = found.load.shape
    found.tokens += np.bincount(windows, minlength=number)
    found.load += count_by_group(piece.experts, windows, number, experts)
    if found.by_domain is not None and domains is not None:
        found.by_domain += count_by_group(piece.experts, domains, len(found.by_domain), experts)
    if found.pairs is not None and len(chosen := piece.experts[piece.positions % every == 0]):
        found.pairs += count_pairs(chosen, experts)
        found.pair_load += count_by_group(chosen, np.zeros(len(chosen), np.intp), 1, experts)[0]
        found.pair_tokens += len(chosen)
    if found.weights is not None and found.importance is not None and piece.weights is not None:
        weights = np.where(piece.experts < 0, 0, piece.weights.astype(np.float64))
        found.weights += weights.sum(axis=0)
        for layer in range(layers):
            places = piece.experts[:, layer].astype(np.intp).ravel() + 1
            found.importance[layer] += np.bincount(places, weights[:, layer].ravel(), minlength=experts + 1)[1:]
    if found.probabilities is not None:
        found.probabilities.add(piece)
    has = (piece.experts >= 0).sum(axis=-1) if piece.part.empty_slots else np.full((1, layers), piece.part.top_k)
    scale = 1 if piece.part.empty_slots else len(piece.experts)
    found.experts_per_token += scale * np.stack([has.sum(axis=0), np.square(has).sum(axis=0)])
