"""What the kernel made of logits. Axes: T tokens, E experts, K experts per token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from torch import Tensor

from routers.selection.rule import Selection, SelectionRule


class FusedSelection(Selection):
    """A selection whose scores and ranked values (T, E) are made of the logits by the eager steps when they are read.

    The kernel keeps them in registers: to write them would take longer than all the rest.
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
