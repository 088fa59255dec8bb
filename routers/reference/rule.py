"""A selection rule carried out for one token, in float64, with Python lists. Axes: E experts, K experts per token.

Nothing of the fast steps is used: a step that is wrong there is wrong there alone. Values are tensors of no dimension,
so that autograd runs through them; what is sorted and compared are Python floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from routers.reference.routing import TokenReference
from routers.selection import SelectionRule

Values = list[Tensor]
Taken = tuple[int | list[int], float]
"""Which of K in order are taken, as their number or themselves, and by how much that was decided."""


def _softmax(values: Values) -> Values:
    largest = max(float(value.detach()) for value in values)
    exponentials = [torch.exp(value - largest) for value in values]
    return [each / _sum(exponentials) for each in exponentials]


def _sum(values: Values) -> Tensor:
    total = values[0] * 0
    for value in values:
        total = total + value
    return total


def _sigmoid(values: Values) -> Values:
    return [1 / (1 + torch.exp(-value)) for value in values]


def _over_sum(values: Values) -> Values:
    total = _sum(values)
    return [value / total if float(total.detach()) else value * 0 + 1 / len(values) for value in values]


_SCORES: dict[str, Callable[[Values], Values]] = {
    "softmax": _softmax,
    "sigmoid": _sigmoid,
    "sqrt_softplus": lambda logits: [torch.sqrt(torch.log1p(torch.exp(value))) for value in logits],
    "relu": lambda logits: [value if float(value.detach()) > 0 else value * 0 for value in logits],
    "identity": lambda logits: logits,
}
_PROBABILITIES: dict[str, Callable[[Values], Values]] = {"identity": _softmax}
_RANKED: dict[str, Callable[[Values, Values, Values], Values]] = {
    "scores": lambda logits, scores, bias: scores,
    "scores_plus_bias": lambda logits, scores, bias: [s + b for s, b in zip(scores, bias, strict=True)],
    "logits": lambda logits, scores, bias: logits,
    "logits_plus_bias": lambda logits, scores, bias: [v + b for v, b in zip(logits, bias, strict=True)],
}
_GROUP_SCORES: dict[str, Callable[[list[float]], float]] = {
    "max": max,
    "top2_sum": lambda values: sum(sorted(values, reverse=True)[:2]),
}
_MASKS = {"minus_infinity": -math.inf, "zero": 0.0}
_WEIGHTS: dict[str, Callable[[Values, Values], Values]] = {
    "scores": lambda logits, scores: scores,
    "softmax": lambda logits, scores: _softmax(logits) if logits else [],
    "sigmoid": lambda logits, scores: _sigmoid(logits),
}


def _all(scores: list[float], probs: list[float], order: list[int], limit: float) -> Taken:
    return len(order), math.inf


def _reach_p(scores: list[float], probs: list[float], order: list[int], limit: float) -> Taken:
    number, gathered, margin = 0, 0.0, math.inf
    for expert in order:
        margin = min(margin, abs(limit - gathered))
        if gathered >= limit:
            break
        number, gathered = number + 1, gathered + probs[expert]
    return number, margin


def _above(scores: list[float], probs: list[float], order: list[int], limit: float) -> Taken:
    return [e for e in order if scores[e] > limit], min(abs(scores[e] - limit) or math.inf for e in order)


def _effective(scores: list[float], probs: list[float], order: list[int], limit: float) -> Taken:
    number = math.exp(-sum(p * math.log(p) for p in probs if p > 0))
    return max(1, math.floor(number + 0.5)), abs(number - math.floor(number) - 0.5)


_COUNTS: dict[str, Callable[[list[float], list[float], list[int], float], Taken]] = {
    "top_k": _all,
    "top_p": _reach_p,
    "threshold": _above,
    "entropy": _effective,
}


def reference_selection(
    rule: SelectionRule, logits: Tensor, top_k: int, bias: Tensor | None, expert_scale: Tensor | None
) -> TokenReference:
    """The rule on one token's logits (E,), float64."""
    num_experts = len(logits)
    values = list(logits)
    if rule.soft_cap is not None:
        values = [rule.soft_cap * torch.tanh(value / rule.soft_cap) for value in values]
    scores = _SCORES[rule.score_function](values)
    probs = _PROBABILITIES.get(rule.score_function, _over_sum)(scores)
    biases = list(torch.zeros_like(logits) if bias is None else bias)
    ranked = _RANKED[rule.ranked_by](values, scores, biases)
    eligible, margin = _masked([float(value.detach()) for value in ranked], rule)
    in_order = sorted(range(num_experts), key=lambda e: (-eligible[e], e))
    order = in_order[:top_k]
    count, limit = _COUNTS[rule.how_many], rule.limit or 0.0
    taken, decided_by = count(_floats(scores), _floats(probs), order, limit)
    if rule.how_many == "top_p":  # what is gathered depends on the order of all that is taken
        margin = min(margin, *(eligible[one] - eligible[next_one] for one, next_one in pairwise(order)), math.inf)
    if isinstance(taken, int):
        selected, place, matters = order[:taken], min(taken, top_k), taken > 0
    else:  # the last of the K counts where one that is ranked as it is, or behind it, would be taken
        selected, place = taken, top_k
        behind = [e for e in in_order if eligible[e] <= eligible[order[-1]]]
        matters = bool(count(_floats(scores), _floats(probs), behind, limit)[0])
    if place < num_experts and matters:
        margin = min(margin, eligible[in_order[place - 1]] - eligible[in_order[place]])
    weights = _WEIGHTS[rule.weighed_by]([values[e] for e in selected], [scores[e] for e in selected])
    if rule.norm_topk_prob and weights:
        total = _sum(weights)
        if rule.least_sum and float(total.detach()) < rule.least_sum:
            total = total * 0 + rule.least_sum
        total = total + rule.epsilon
        weights = [weight / total if float(total.detach()) else weight * 0 for weight in weights]
    if expert_scale is not None:
        weights = [weight * expert_scale[e] for weight, e in zip(weights, selected, strict=True)]
    scale = rule.scale / (top_k if rule.mean_of_experts else 1)
    return TokenReference(
        torch.stack(probs),
        selected,
        [weight * scale for weight in weights],
        torch.stack(scores),
        torch.stack(ranked),
        min(margin, decided_by),
    )


def _floats(values: Values) -> list[float]:
    return [float(value.detach()) for value in values]


def _masked(ranked: list[float], rule: SelectionRule) -> tuple[list[float], float]:
    """Ranked values without the groups that do not stay, and by how much the last that stays was better."""
    stay = rule.num_groups if rule.groups_kept is None else rule.groups_kept
    if stay == rule.num_groups:
        return ranked, math.inf
    size = len(ranked) // rule.num_groups
    groups = [ranked[start : start + size] for start in range(0, len(ranked), size)]
    of_groups = [_GROUP_SCORES[rule.group_score](group) for group in groups]
    best = sorted(range(rule.num_groups), key=lambda g: (-of_groups[g], g))
    masked = [value if e // size in best[:stay] else _MASKS[rule.group_mask] for e, value in enumerate(ranked)]
    return masked, of_groups[best[stay - 1]] - of_groups[best[stay]]
