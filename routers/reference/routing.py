"""What a reference says of a batch: a token's experts and weights, or the whole routing as two matrices.

Axes: T tokens, D hidden size, E experts, K experts per token, N rows handed to the experts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TokenReference:
    """One token's routing, of token choice.

    Attributes:
        probs: (E,) on the simplex.
        selected: the experts in order of preference, K at most.
        weights: theirs.
        scores: (E,), what the rule made of the logits; the probabilities unless given.
        ranked: (E,), what it ranks; the probabilities unless given.
        margin: how far the nearest other decision was: the last selected and the first not, the last group that stays
            and the first that does not, a probability or a number of experts at its limit. Rounding may change what is
            decided by less.
    """

    probs: Tensor
    selected: list[int]
    weights: list[Tensor]
    scores: Tensor | None = None
    ranked: Tensor | None = None
    margin: float = math.inf


@dataclass(frozen=True)
class ReferenceRouting:
    """A batch's routing, of any kind: rows = dispatch · x, output = combine · (each row through its expert).

    Attributes:
        probs: (T, E) on the simplex.
        dispatch: (N, T), what each row is made of; for a row that is a copy of a token, one-hot.
        expert_index: the expert of each of the N rows.
        combine: (T, N), the weight of each row's output at each token.
        margin: (T,), how far a token's nearest other decision was, as `TokenReference.margin`; None where nothing is
            decided.
    """

    probs: Tensor
    dispatch: Tensor
    expert_index: list[int]
    combine: Tensor
    margin: Tensor | None = None
