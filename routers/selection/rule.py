"""The selection rule: from logits to selected experts and weights. Axes: T tokens, E experts, K experts per token."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from routers.routing import divided_by_sum
from routers.selection.paths import choose_selection_path
from routers.selection.rule_fields import check_fields
from routers.selection.selection import Selection, UnreadSelection
from routers.selection.steps import (
    COUNTS,
    PRECISIONS,
    RANKINGS,
    SCORE_FUNCTIONS,
    WEIGHTS,
    keep_best_groups,
)


@dataclass(frozen=True, repr=False)
class SelectionRule:
    """How experts are selected and weighed, as data: each field names a step, `select` carries them out in this order.

    Attributes:
        score_function: of the logits: softmax, sigmoid, sqrt_softplus √log(1 + e^ℓ), relu, identity.
        soft_cap: c, the logits become c·tanh(ℓ/c) before anything else; None for no cap.
        ranked_by: scores, scores_plus_bias, logits or logits_plus_bias: the bias (E,) acts on the selection alone.
        num_groups: G, the E experts in G groups of neighbours; 1 for none.
        groups_kept: how many of the groups stay; None for all.
        group_score: max, a group's largest ranked value, or top2_sum, the sum of its two largest.
        group_mask: minus_infinity or zero, what masks the experts of the other groups.
        how_many: top_k, K for each token; top_p, the least number whose probabilities, in the order of the ranking,
            reach `limit`; threshold, those whose score is above `limit`; entropy, e^H rounded, with H the entropy of
            the token's probabilities. K bounds the last three.
        limit: p of top_p, or the threshold; None of the others.
        weighed_by: the scores of the selected (without the bias), or the softmax or the sigmoid of their logits.
        norm_topk_prob: divide a token's weights by their sum.
        epsilon: is added to that sum.
        least_sum: that sum is made at least this.
        scale: multiplies the weights.
        mean_of_experts: divide the weights by K besides, so that they sum to scale/K.
        expert_scale: multiply each weight with a learned factor of its expert's.
        precision: float32, the product behind the logits and the scores; float32_scores, the scores alone; model,
            neither: scores and weights are rounded to the dtype that the logits come in.

    Raises:
        ValueError: a step that there is not, or a number that cannot be.

    Examples:
        >>> from routers import create_router
        >>> rule = SelectionRule(score_function="sigmoid", norm_topk_prob=False, scale=2.5)
        >>> create_router("mlp", hidden_size=64, num_experts=8, top_k=2, selection=rule).selection.scale
        2.5
        >>> SelectionRule(score_function="tanh")
        Traceback (most recent call last):
            ...
        ValueError: score_function is 'tanh', expected one of: softmax, sigmoid, sqrt_softplus, relu, identity
    """

    score_function: str = "softmax"
    soft_cap: float | None = None
    ranked_by: str = "scores"
    num_groups: int = 1
    groups_kept: int | None = None
    group_score: str = "max"
    group_mask: str = "minus_infinity"
    how_many: str = "top_k"
    limit: float | None = None
    weighed_by: str = "scores"
    norm_topk_prob: bool = True
    epsilon: float = 0.0
    least_sum: float = 0.0
    scale: float = 1.0
    mean_of_experts: bool = False
    expert_scale: bool = False
    precision: str = "float32_scores"
    is_softmax_top_k: bool = field(init=False, compare=False)
    """Nothing but a softmax, K and a scale: the order is that of the logits, and the weights follow from K of them."""
    needs_scores: bool = field(init=False, compare=False)
    """Experts are ranked or weighed by scores, or their number follows from them."""

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "is_softmax_top_k", self._is_softmax_top_k())
        ranking, count = RANKINGS[self.ranked_by], COUNTS[self.how_many]
        by_scores = ranking.by_scores or WEIGHTS[self.weighed_by] is None or count.kept is not None
        object.__setattr__(self, "needs_scores", by_scores)

    def __repr__(self) -> str:
        # Of seventeen fields, those that say something.
        given = (each for each in fields(self) if each.init and getattr(self, each.name) != each.default)
        return f"SelectionRule({', '.join(f'{each.name}={getattr(self, each.name)!r}' for each in given)})"

    def _is_softmax_top_k(self) -> bool:
        weights_of_softmax = self.weighed_by == "scores" or (self.weighed_by == "softmax" and self.norm_topk_prob)
        return (
            self.score_function == "softmax"
            and self.soft_cap is None
            and not self.has_bias
            and self.groups_left == self.num_groups
            and self.how_many == "top_k"
            and weights_of_softmax
            and self.epsilon == self.least_sum == 0
            and not (self.mean_of_experts or self.expert_scale)
            and self.precision != "model"
        )

    @property
    def has_bias(self) -> bool:
        """A bias takes part in the ranking."""
        return RANKINGS[self.ranked_by].with_bias

    @property
    def groups_left(self) -> int:
        """How many groups stay."""
        return self.num_groups if self.groups_kept is None else self.groups_kept

    @property
    def weights_sum_to_one(self) -> bool:
        """A token's weights always have the same sum, so that a single one cannot learn anything."""
        return self.norm_topk_prob or self.weighed_by == "softmax"

    @property
    def divides_by_sum(self) -> bool:
        """A token's weights are divided by their sum, which that of a softmax over them need not be."""
        return self.norm_topk_prob and (self.weighed_by != "softmax" or self.epsilon > 0 or self.least_sum > 0)

    def check_sizes(self, num_experts: int, top_k: int) -> None:
        """Refuse sizes that the groups do not allow.

        Raises:
            ValueError: groups that do not divide E, or K above what the groups leave.
        """
        if num_experts % self.num_groups:
            raise ValueError(f"num_groups is {self.num_groups}, expected a divisor of num_experts = {num_experts}")
        left = self.groups_left * (num_experts // self.num_groups)
        if top_k > left:
            raise ValueError(
                f"top_k is {top_k}, expected at most {left}: {self.groups_left} of {self.num_groups} groups stay, of "
                f"{num_experts // self.num_groups} experts each"
            )

    def in_precision(self, logits: Tensor) -> Tensor:
        """Logits (…, E) in the dtype in which scores are made of them."""
        return PRECISIONS[self.precision](logits)

    def score(self, logits: Tensor) -> Tensor:
        """Scores of logits, soft cap included, (T, E) -> (T, E)."""
        return SCORE_FUNCTIONS[self.score_function].compute(self._capped(self.in_precision(logits)))

    def rank(self, logits: Tensor, bias: Tensor | None = None) -> Tensor:
        """What is ranked, before groups are masked: (T, E) and (E,) -> (T, E)."""
        return self._rank(self._capped(self.in_precision(logits)), self.score(logits), bias)

    def probabilities(self, scores: Tensor) -> Tensor:
        """Scores as rows on the simplex, (T, E) -> (T, E)."""
        return (SCORE_FUNCTIONS[self.score_function].probabilities or divided_by_sum)(scores)

    def probabilities_at_once(self, scores: Tensor) -> Tensor | None:
        """As `probabilities`; None where they are the scores over their sum, which is left for who reads them."""
        found = SCORE_FUNCTIONS[self.score_function].probabilities
        return None if found is None else found(scores)

    def select(
        self, logits: Tensor, top_k: int, bias: Tensor | None = None, expert_scale: Tensor | None = None
    ) -> Selection:
        """Carry out the rule.

        Args:
            logits: (T, E).
            top_k: K, or the most experts of a token.
            bias: (E,) of the ranking; None for zeros.
            expert_scale: (E,), the learned factors; None for ones.

        Raises:
            ValueError: a bias or factors of another size, or which the rule does not take; sizes as `check_sizes` says.
        """
        num_experts = logits.shape[-1]
        self.check_sizes(num_experts, top_k)
        _expect_per_expert("bias", bias, num_experts, taken=self.has_bias)
        _expect_per_expert("expert_scale", expert_scale, num_experts, taken=self.expert_scale)
        return self.carry_out(logits, top_k, bias, expert_scale)

    def carry_out(
        self, logits: Tensor, top_k: int, bias: Tensor | None = None, expert_scale: Tensor | None = None
    ) -> Selection:
        """As `select`, of what was checked before: a router's sizes are when it is made."""
        if (path := choose_selection_path(self, logits, top_k)) is not None:
            return path.select(self, logits, top_k, bias, expert_scale)
        if not (self.needs_scores or torch.compiler.is_compiling()):  # a compiler drops what is not read by itself
            return self._select_by_logits(logits, top_k, bias, expert_scale)
        logits = self._capped(self.in_precision(logits))
        scores = SCORE_FUNCTIONS[self.score_function].compute(logits)
        ranked = self._rank(logits, scores, bias)
        selected = self._eligible(ranked).topk(top_k, dim=-1).indices
        kept = self._kept(scores, selected)
        weights = self._weights(logits, scores, selected, kept)
        if kept is not None:
            weights = torch.where(kept, weights, 0.0)
        weights = self._normalised(weights, expert_scale, selected)
        return Selection(scores, ranked, selected, weights, kept)

    def _select_by_logits(
        self, logits: Tensor, top_k: int, bias: Tensor | None, expert_scale: Tensor | None
    ) -> UnreadSelection:
        """What needs no scores: they are made when they are read."""
        seen = self.in_precision(logits)
        capped = self._capped(seen)
        ranked = capped if bias is None else capped + bias
        top = self._eligible(ranked).topk(top_k, dim=-1)
        # Ranked values that are the logits need not be gathered; those of a masked group are something else.
        is_logits = bias is None and self.groups_left == self.num_groups
        of_selected = top.values if is_logits else capped.gather(-1, top.indices)
        weigh = WEIGHTS[self.weighed_by]
        assert weigh is not None  # a rule that weighs by scores needs them
        weights = self._normalised(weigh(of_selected), expert_scale, top.indices)
        return UnreadSelection.of(self, seen, bias, top.indices, weights)

    def weigh(self, logits: Tensor, selected: Tensor, expert_scale: Tensor | None = None) -> Tensor:
        """Weights (T, K) of experts (T, K) that are selected already, every one of them, from logits (T, E)."""
        logits = self._capped(self.in_precision(logits))
        scores = SCORE_FUNCTIONS[self.score_function].compute(logits)
        weights = self._weights(logits, scores, selected, None)
        return self._normalised(weights, expert_scale, selected)

    def _capped(self, logits: Tensor) -> Tensor:
        return logits if self.soft_cap is None else self.soft_cap * torch.tanh(logits / self.soft_cap)

    def _rank(self, logits: Tensor, scores: Tensor, bias: Tensor | None) -> Tensor:
        ranked = RANKINGS[self.ranked_by].of(logits, scores)
        return ranked if bias is None else ranked + bias

    def _eligible(self, ranked: Tensor) -> Tensor:
        if self.groups_left == self.num_groups:
            return ranked
        return keep_best_groups(ranked, self.num_groups, self.groups_left, self.group_score, self.group_mask)

    def _kept(self, scores: Tensor, selected: Tensor) -> Tensor | None:
        kept = COUNTS[self.how_many].kept
        if kept is None:
            return None
        return kept(scores, self.probabilities(scores), selected, 0.0 if self.limit is None else self.limit)

    def _weights(self, logits: Tensor, scores: Tensor, selected: Tensor, kept: Tensor | None) -> Tensor:
        weigh = WEIGHTS[self.weighed_by]
        if weigh is None:
            return scores.gather(-1, selected)
        of_selected = logits.gather(-1, selected)
        if kept is not None:  # the lowest number and not −∞: of a token that keeps none a softmax stays defined
            of_selected = torch.where(kept, of_selected, torch.finfo(logits.dtype).min)
        return weigh(of_selected)

    def _normalised(self, weights: Tensor, expert_scale: Tensor | None, selected: Tensor) -> Tensor:
        if self.divides_by_sum:
            total = weights.sum(dim=-1, keepdim=True)
            if self.least_sum:
                total = total.clamp_min(self.least_sum)
            # A token of which nothing is left has weights of 0, and not 0/0.
            weights = weights / (total + self.epsilon if self.epsilon else total + (total == 0))
        if expert_scale is not None:
            weights = weights * expert_scale[selected]
        scale = self.scale / selected.shape[-1] if self.mean_of_experts else self.scale
        return weights if scale == 1.0 else weights * scale


def _expect_per_expert(name: str, value: Tensor | None, num_experts: int, *, taken: bool) -> None:
    if value is not None and not taken:
        raise ValueError(f"{name} is given, expected none: the rule takes none")
    if value is not None and tuple(value.shape) != (num_experts,):
        raise ValueError(f"{name} has shape {tuple(value.shape)}, expected ({num_experts},), one for each expert")
