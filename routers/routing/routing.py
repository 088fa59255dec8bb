"""What a router decided for a batch, whatever the kind. Axes: T tokens, D hidden size, E experts, N expert rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from routers.routing.capacity import Capacity
from routers.routing.probabilities import divided_by_sum, expert_softmax


class UnreadScores(Protocol):
    """Scores that a selection rule makes of its logits when they are read, each (T, E)."""

    @property
    def scores(self) -> Tensor:
        """What the rule made of the logits."""

    @property
    def ranked(self) -> Tensor:
        """What the rule ranks."""

    @property
    def probabilities(self) -> Tensor:
        """The scores as rows on the simplex."""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same, of which each tensor with a row for each token is changed: (T, N) -> (T', N)."""


@dataclass(frozen=True, eq=False)
class Routing(ABC):
    """What a router decided for a batch of T tokens.

    A subclass says how tokens reach experts. Probabilities are kept for losses and metrics whatever the kind.

    Attributes:
        num_experts: E.
        probs: (T, E), if the router computed them; else they follow from `scores` or `logits` when they are read.
        logits: (T, E) that the scorer gave, if it has any.
        scores: (T, E), what the selection rule made of the logits, where that is more than the probabilities.
        ranks: (T, E), what the rule ranks, where that is more than the logits.
        unread: in the place of `scores` and `ranks`, of a selection that has not kept them.
        mask: (T,) bool, True where the token counts, or None if all do. A token that does not count, as padding, sends
            no row to an expert, gets an output of 0, and is in no count; its probabilities are there and mean nothing.
    """

    num_experts: int
    probs: Tensor | None = field(default=None, kw_only=True)
    logits: Tensor | None = field(default=None, kw_only=True)
    scores: Tensor | None = field(default=None, kw_only=True)
    ranks: Tensor | None = field(default=None, kw_only=True)
    unread: UnreadScores | None = field(default=None, kw_only=True)
    mask: Tensor | None = field(default=None, kw_only=True)

    @classmethod
    def of(cls, **fields: Any) -> Self:
        """The same as calling the class with all fields that have no default by name, in half of the time.

        A frozen dataclass sets field by field through a function; a router makes a routing for each token that a
        language model decodes.
        """
        if torch.compiler.is_compiling():
            return cls(**fields)
        made = object.__new__(cls)
        made.__dict__.update(fields)
        return made

    @property
    def router_probs(self) -> Tensor:
        """(T, E) float32, each row on the simplex: scores divided by their sum."""
        if self.probs is not None:
            return self.probs
        # `cached_property` takes a lock on Python 3.11, at which a compiled graph breaks.
        return self._make_probs() if torch.compiler.is_compiling() else self._cached_probs

    @cached_property
    def _cached_probs(self) -> Tensor:
        return self._make_probs()

    def _make_probs(self) -> Tensor:
        if self.unread is not None:
            return self.unread.probabilities
        if self.scores is not None:
            return divided_by_sum(self.scores)
        if self.logits is None:
            raise ValueError("this routing carries neither probabilities nor logits")
        return expert_softmax(self.logits)

    @property
    def router_logits(self) -> Tensor:
        """(T, E) the logits, or log p of a router that has probabilities alone: softmax(log p) = p."""
        if self.logits is not None:
            return self.logits
        probs = self.router_probs
        return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()

    @property
    def router_scores(self) -> Tensor:
        """(T, E), what the selection rule made of the logits: of a softmax the probabilities."""
        if self.unread is not None:
            return self.unread.scores
        return self.router_probs if self.scores is None else self.scores

    @property
    def ranked(self) -> Tensor:
        """(T, E), what the selection ranks before it masks groups; of the softmax the logits, in the same order."""
        if self.unread is not None:
            return self.unread.ranked
        return self.router_logits if self.ranks is None else self.ranks

    @property
    def unserved_tokens(self) -> Tensor:
        """() int64, the tokens that count and that no expert took. A kind that may leave tokens out overrides this."""
        return torch.zeros((), dtype=torch.int64)

    @property
    def experts_per_token(self) -> Tensor | None:
        """(T',) int64, how many experts each token that counts has; None of a kind that does not say it."""
        return None

    @property
    @abstractmethod
    def tokens_per_expert(self) -> Tensor:
        """(E,) int64, the number of rows each expert is given."""

    def masked(self, mask: Tensor | None) -> Self:
        """The same decision without the tokens where mask (T,) is False; with None the routing itself.

        Raises:
            ValueError: of a kind that a mask cannot be put on afterwards.
        """
        if mask is None:
            return self
        raise ValueError(f"{type(self).__name__} takes no mask: its router has to heed it")

    def with_capacity(self, capacity: Capacity) -> Self:
        """The same decision with at most so many rows for each expert.

        Raises:
            ValueError: of a kind in which tokens do not choose, so that an expert's rows are fixed already.
        """
        raise ValueError(
            f"a capacity of {capacity} is given, but {type(self).__name__} fixes each expert's rows itself"
        )

    @abstractmethod
    def dispatch(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """The rows for the experts.

        Args:
            hidden_states: (T, D).

        Returns:
            expert_inputs (N, D) and expert_index (N,) int64, in non-decreasing order, so that each expert's rows
            are one contiguous block and its products are dense.
        """

    @abstractmethod
    def combine(self, expert_outputs: Tensor) -> Tensor:
        """Weighted sum of the experts' outputs at each token: (N, D) in the order of `dispatch` -> (T, D)."""
