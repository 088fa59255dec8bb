"""What a rule made of logits. Axes: T tokens, E experts, K experts per token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    bias_version: int | None

    @classmethod
    def of(
        cls, rule: SelectionRule, logits: Tensor, bias: Tensor | None, selected_experts: Tensor, routing_weights: Tensor
    ) -> Self:
        """The selection of logits (T, E), by a bias (E,) or None: experts and weights, each (T, K)."""
        made = cls(logits, logits, selected_experts, routing_weights, None)
        made.rule, made.logits, made.bias = rule, logits, bias
        # Its address and not a copy is kept: on a card to copy it would take as long as to select. Tensors of inference
        # mode have no version.
        made.bias_version = None if bias is None or bias.is_inference() else bias._version
        return made

    @property
    def scores(self) -> Tensor:
        """(T, E), with gradients to the logits."""
        return self.rule.score(self.logits)

    @property
    def ranked(self) -> Tensor:
        """(T, E), before groups are masked, with gradients to the logits.

        Raises:
            RuntimeError: the bias has been changed since.
        """
        if self.bias is not None and self.bias_version is not None and self.bias_version != self.bias._version:
            raise RuntimeError(
                "the bias of the ranking was changed after this selection, whose ranked values are made when they are "
                "read: read them before"
            )
        return self.rule.rank(self.logits, self.bias)

    @property
    def probabilities(self) -> Tensor:
        """(T, E), the scores as rows on the simplex."""
        return self.rule.probabilities(self.scores)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same, of which each tensor with a row for each token is changed: (T, N) -> (T', N)."""
        selected, weights = change(self.selected_experts), change(self.routing_weights)
        made = self.of(self.rule, change(self.logits), self.bias, selected, weights)
        made.bias_version = self.bias_version
        return made

    def of_all_experts(self, rule: SelectionRule) -> dict[str, Any]:
        """See `Selection.of_all_experts`; nothing is computed."""
        return {"unread": self}

    def __iter__(self) -> Iterator[Any]:
        """The fields in order, so that unpacking makes what reading makes."""
        return iter((self.scores, self.ranked, self.selected_experts, self.routing_weights, self.kept))
