"""What a rule made of logits. Axes: T tokens, E experts, K experts per token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from torch import Tensor

if TYPE_CHECKING:
    from routers.selection.rule import SelectionRule


class Selection(NamedTuple):
    """What a rule made of logits.

    Attributes:
        scores: (T, E).
        ranked: (T, E), what is ranked, before groups are masked.
        selected_experts: (T, K) int64, the one ranked first first.
        routing_weights: (T, K), 0 where a slot is not kept.
        kept: (T, K) bool, or None where every slot is kept.
    """

    scores: Tensor
    ranked: Tensor
    selected_experts: Tensor
    routing_weights: Tensor
    kept: Tensor | None

    def of_all_experts(self, rule: SelectionRule) -> dict[str, Any]:
        """What a `Routing` has of all experts: its fields `scores`, `ranks` and `probs`."""
        return {"scores": self.scores, "ranks": self.ranked, "probs": rule.probabilities_at_once(self.scores)}


class UnreadSelection(Selection):
    """A selection whose scores and ranked values (T, E) are made of the logits by the eager steps when they are read.

    A rule that ranks and weighs by logits needs no scores, and a kernel keeps them in registers: to make or to write
    them would take longer than all the rest.
    """

    rule: SelectionRule
    logits: Tensor
    bias: Tensor | None

    @classmethod
    def of(
        cls, rule: SelectionRule, logits: Tensor, bias: Tensor | None, selected_experts: Tensor, routing_weights: Tensor
    ) -> Self:
        """The selection of logits (T, E), by a bias (E,) or None: experts and weights, each (T, K)."""
        made = cls(logits, logits, selected_experts, routing_weights, None)
        made.rule, made.logits, made.bias = rule, logits, bias
        return made

    @property
    def scores(self) -> Tensor:
        """(T, E), with gradients to the logits."""
        return self.rule.score(self.logits)

    @property
    def ranked(self) -> Tensor:
        """(T, E), before groups are masked, with gradients to the logits."""
        return self.rule.rank(self.logits, self.bias)

    @property
    def probabilities(self) -> Tensor:
        """(T, E), the scores as rows on the simplex."""
        return self.rule.probabilities(self.scores)

    def of_all_experts(self, rule: SelectionRule) -> dict[str, Any]:
        """See `Selection.of_all_experts`; nothing is computed."""
        return {"unread": self}

    def __iter__(self) -> Iterator[Any]:
        """The fields in order, so that unpacking makes what reading makes."""
        return iter((self.scores, self.ranked, self.selected_experts, self.routing_weights, self.kept))
