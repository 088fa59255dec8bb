"""The steps of a selection rule, each a function by name: a field of the rule names the one that it takes.

Axes: T tokens, E experts, K experts per token, G groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from routers.precision import at_least_float32
from routers.routing import divided_by_sum, expert_softmax


@dataclass(frozen=True)
class ScoreFunction:
    """What makes scores of logits.

    Attributes:
        compute: logits (T, E) -> scores (T, E).
        probabilities: scores (T, E) -> rows on the simplex (T, E), in float32 at least; None where they are
            the scores over their sum.
    """

    compute: Callable[[Tensor], Tensor]
    probabilities: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Ranking:
    """What is ranked.

    Attributes:
        of: (logits, scores), each (T, E) -> the one that is ranked.
        with_bias: a bias (E,) is added.
        by_scores: it is the scores.
    """

    of: Callable[[Tensor, Tensor], Tensor]
    with_bias: bool
    by_scores: bool


@dataclass(frozen=True)
class Count:
    """How many of the K ranked first are taken.

    Attributes:
        kept: (scores (T, E), probabilities (T, E), selected (T, K), limit) -> (T, K) bool; None where all are.
        complaint: a limit -> what was expected, or None where it is right.
    """

    kept: Callable[[Tensor, Tensor, Tensor, float], Tensor] | None
    complaint: Callable[[float | None], str | None]


def _softmax(logits: Tensor) -> Tensor:
    return expert_softmax(logits).to(logits.dtype)


def _sqrt_softplus(logits: Tensor) -> Tensor:
    softplus = F.softplus(logits)
    # 0 of a logit below −104 (in float16 −17), or of one that is masked: a root has no finite slope there.
    nothing = softplus == 0  # and not `softplus > 0`: a NaN stays one
    return torch.where(nothing, 0.0, torch.where(nothing, 1.0, softplus).sqrt())


def _exact_or_divided(scores: Tensor) -> Tensor:
    """Softmax scores as they are; those that were rounded to half precision sum to one no more."""
    return scores if scores.dtype.itemsize >= torch.float32.itemsize else divided_by_sum(scores)


SCORE_FUNCTIONS = {
    "softmax": ScoreFunction(_softmax, probabilities=_exact_or_divided),
    "sigmoid": ScoreFunction(torch.sigmoid),
    "sqrt_softplus": ScoreFunction(_sqrt_softplus),
    "relu": ScoreFunction(torch.relu),
    "identity": ScoreFunction(lambda logits: logits, probabilities=expert_softmax),
}

RANKINGS = {
    "scores": Ranking(lambda logits, scores: scores, with_bias=False, by_scores=True),
    "scores_plus_bias": Ranking(lambda logits, scores: scores, with_bias=True, by_scores=True),
    "logits": Ranking(lambda logits, scores: logits, with_bias=False, by_scores=False),
    "logits_plus_bias": Ranking(lambda logits, scores: logits, with_bias=True, by_scores=False),
}

GROUP_SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda grouped: grouped.amax(dim=-1),
    "top2_sum": lambda grouped: grouped.topk(min(2, grouped.shape[-1]), dim=-1).values.sum(dim=-1),
}
"""Ranked values by group (T, G, E/G) -> the groups' own scores (T, G)."""

GROUP_MASKS = {"minus_infinity": -torch.inf, "zero": 0.0}
"""What stands in the place of the ranked values of groups that do not stay."""

WEIGHTS: dict[str, Callable[[Tensor], Tensor] | None] = {
    "scores": None,
    "softmax": lambda logits: torch.softmax(logits, dim=-1),
    "sigmoid": torch.sigmoid,
}
"""Logits of the selected experts (T, K) -> weights (T, K) before they are normalised and scaled; None where these are
scores of the selected."""

PRECISIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "float32": at_least_float32,
    "float32_scores": at_least_float32,
    "model": lambda logits: logits,
}
"""Logits in the dtype in which scores are made of them. The first says of the product behind them, too, that it is in
float32: see `Router.in_rules_dtype`."""


def keep_best_groups(ranked: Tensor, num_groups: int, groups_kept: int, group_score: str, group_mask: str) -> Tensor:
    """Ranked values in which the groups that do not stay are masked, (T, E) -> (T, E)."""
    grouped = ranked.view(*ranked.shape[:-1], num_groups, ranked.shape[-1] // num_groups)
    of_groups = GROUP_SCORES[group_score](grouped)
    best = of_groups.topk(groups_kept, dim=-1).indices
    masked = torch.ones_like(of_groups, dtype=torch.bool).scatter(-1, best, False)
    return grouped.masked_fill(masked.unsqueeze(-1), GROUP_MASKS[group_mask]).view_as(ranked)


def _reaching_p(scores: Tensor, probabilities: Tensor, selected: Tensor, limit: float) -> Tensor:
    """The least number whose probabilities reach p: those before which less than p is gathered."""
    taken = probabilities.gather(-1, selected)
    return taken.cumsum(dim=-1) - taken < limit


def _above_threshold(scores: Tensor, probabilities: Tensor, selected: Tensor, limit: float) -> Tensor:
    return scores.gather(-1, selected) > limit


def _effective_number(scores: Tensor, probabilities: Tensor, selected: Tensor, limit: float) -> Tensor:
    """e^H rounded, H the entropy of a token's probabilities: 1 if one expert has all, E if all are alike."""
    entropy = -torch.xlogy(probabilities, probabilities).sum(dim=-1, keepdim=True)
    place = torch.arange(selected.shape[-1], device=selected.device)
    return place < entropy.exp().round().clamp_min(1)


def _expect_none(limit: float | None) -> str | None:
    return None if limit is None else "expected none"


def _expect_probability(limit: float | None) -> str | None:
    return None if limit is not None and 0 < limit <= 1 else "expected a probability above 0 and at most 1"


def _expect_finite(limit: float | None) -> str | None:
    return None if limit is not None and -torch.inf < limit < torch.inf else "expected a finite number"


COUNTS = {
    "top_k": Count(None, _expect_none),
    "top_p": Count(_reaching_p, _expect_probability),
    "threshold": Count(_above_threshold, _expect_finite),
    "entropy": Count(_effective_number, _expect_none),
}
