"""Routing: which expert inputs are formed, and how expert outputs return to tokens.

Axes: T tokens, D hidden size, E experts, K experts per token, N rows handed to the experts.

A router decides, a `Routing` acts. `MoELayer` calls the two verbs `dispatch` and `combine` and never asks what kind of
routing it holds: token choice, expert choice and soft slots differ only in here (the shape of Google's vmoe).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


def expert_softmax(logits: Tensor) -> Tensor:
    """Probabilities over the experts, the last axis, in float32 (float64 stays float64).

    On the CPU a softmax over a short last axis is not vectorised; with the experts moved to the front it is, and takes
    an eighth of the time at T = 2048, E = 8. The values are the same.

    Shapes: (T, E) -> (T, E); other ranks take the plain path.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if logits.device.type == "cpu" and logits.dim() == 2 and logits.shape[0] > 1:
        return torch.softmax(logits.t().contiguous(), dim=0).t()
    return torch.softmax(logits, dim=-1)


def divided_by_sum(scores: Tensor) -> Tensor:
    """Scores of at least 0 over their sum, rows on the simplex: (…, E) -> (…, E). Uniform where all scores are 0."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    total = scores.sum(dim=-1, keepdim=True)
    nothing = total == 0  # and not `total > 0`: a NaN stays one
    return torch.where(nothing, 1 / scores.shape[-1], scores / (total + nothing))


def count_assignments(selected_experts: Tensor, num_experts: int) -> Tensor:
    """Counts n_e of assignments, (T, K) -> (E,) int64.

    Raises:
        ValueError: an expert below 0 or from E on, which a count would append or fail on.
    """
    if selected_experts.numel():
        for expert in map(int, selected_experts.aminmax()):
            if not 0 <= expert < num_experts:
                raise ValueError(f"selected_experts hold {expert}, expected 0 to {num_experts - 1}")
    return torch.bincount(selected_experts.flatten(), minlength=num_experts)


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
        mask: (T,) bool, True where a token counts; None where all do. What counts or averages over tokens leaves the
            others out.
    """

    num_experts: int
    probs: Tensor | None = field(default=None, kw_only=True)
    logits: Tensor | None = field(default=None, kw_only=True)
    scores: Tensor | None = field(default=None, kw_only=True)
    ranks: Tensor | None = field(default=None, kw_only=True)
    mask: Tensor | None = field(default=None, kw_only=True)

    @cached_property
    def router_probs(self) -> Tensor:
        """(T, E) float32, each row on the simplex: scores divided by their sum."""
        if self.probs is not None:
            return self.probs
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
        # Not cached, and the field itself where there is one: `cached_property` takes a lock on Python 3.11, at which a
        # compiled graph breaks.
        probs = self.router_probs if self.probs is None else self.probs
        return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()

    @property
    def router_scores(self) -> Tensor:
        """(T, E), what the selection rule made of the logits: of a softmax the probabilities."""
        return self.router_probs if self.scores is None else self.scores

    @property
    def ranked(self) -> Tensor:
        """(T, E), what the selection ranks before it masks groups; of the softmax the logits, in the same order."""
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


@dataclass(frozen=True, eq=False)
class TokenChoice(Routing):
    """Each token chooses K experts: equations (13) and (14) of the paper.

    Attributes:
        selected_experts: (T, K) int64.
        routing_weights: (T, K) float32; the gradient reaches the router through them.
        kept: (T, K) bool, or None where all are. A slot that is not kept (a token that needs fewer than K experts, an
            expert that is full, padding) sends no row to an expert and has weight 0; its expert is a valid number that
            means nothing.
    """

    selected_experts: Tensor = field(kw_only=True)
    routing_weights: Tensor = field(kw_only=True)
    kept: Tensor | None = field(default=None, kw_only=True)

    @cached_property
    def tokens_per_expert(self) -> Tensor:
        """(E,) int64, of the slots that are kept; a ValueError names an expert that there is not."""
        selected = self.selected_experts if self.kept is None else self.selected_experts[self.kept]
        return count_assignments(selected, self.num_experts)

    @property
    def unserved_tokens(self) -> Tensor:
        """() int64, the tokens that count and of which no slot is kept."""
        if self.kept is None:
            return super().unserved_tokens
        unserved = ~self.kept.any(dim=-1)
        return (unserved if self.mask is None else unserved & self.mask).sum()

    @property
    def experts_per_token(self) -> Tensor:
        """(T',) int64, the slots that are kept of each token that counts."""
        kept = torch.ones_like(self.selected_experts, dtype=torch.bool) if self.kept is None else self.kept
        numbers = kept.sum(dim=-1)
        return numbers if self.mask is None else numbers[self.mask]

    @cached_property
    def _by_expert(self) -> tuple[Tensor, Tensor]:
        """The N = T·K assignments sorted by expert (stable: by token within an expert), and their experts."""
        expert_index, order = self.selected_experts.flatten().sort(stable=True)
        return order, expert_index

    def dispatch(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """A copy of each token for each of its experts, N = T·K."""
        order, expert_index = self._by_expert
        top_k = self.selected_experts.shape[1]
        return hidden_states[order // top_k], expert_index

    def combine(self, expert_outputs: Tensor) -> Tensor:
        """y_t = Σ_k w_tk · output_tk, in the outputs' dtype.

        The rows are gathered back instead of added up in place: no atomics, so the sum is the same in every run.
        """
        order, _ = self._by_expert
        num_tokens, top_k = self.selected_experts.shape
        position = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        by_token = expert_outputs[position].view(num_tokens, top_k, expert_outputs.shape[-1])
        weights = self.routing_weights.to(expert_outputs.dtype)
        return torch.bmm(weights.unsqueeze(1), by_token).squeeze(1)


@dataclass(frozen=True, eq=False)
class StraightThrough(TokenChoice):
    """Token choice forward, all experts backward: the straight-through estimator of the selection (section III-D1).

    The value is token choice's own. The gradient is that of Σ_e p_te · output_te over all E experts, as though nothing
    had been selected: every expert learns from every token, and the router from every expert. It costs E/K times the
    experts' work.
    """

    def dispatch(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Every token for every expert, N = E·T."""
        num_tokens = hidden_states.shape[0]
        expert_index = torch.arange(self.num_experts, device=hidden_states.device).repeat_interleave(num_tokens)
        return hidden_states.repeat(self.num_experts, 1), expert_index

    def combine(self, expert_outputs: Tensor) -> Tensor:
        """Hard value, soft gradient: hard + (soft − soft) with all but the second soft detached."""
        num_tokens = self.selected_experts.shape[0]
        by_expert = expert_outputs.view(self.num_experts, num_tokens, expert_outputs.shape[-1])
        hard_weights = torch.zeros_like(self.router_probs).scatter(1, self.selected_experts, self.routing_weights)
        dtype = expert_outputs.dtype
        soft = torch.einsum("te,etd->td", self.router_probs.to(dtype), by_expert)
        hard = torch.einsum("te,etd->td", hard_weights.detach().to(dtype), by_expert.detach())
        return hard + (soft - soft.detach())
