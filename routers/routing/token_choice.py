"""Each token chooses experts. Axes: T tokens, D hidden size, E experts, K slots per token, N expert rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from routers.routing.capacity import Capacity
from routers.routing.routing import Routing
from routers.routing.shapes import shapes_are_fixed


def count_assignments(selected_experts: Tensor, num_experts: int, kept: Tensor | None = None) -> Tensor:
    """Counts n_e of assignments, (T, K) -> (E,) int64; of those alone that are kept, (T, K) bool, where that is given.

    Raises:
        ValueError: an expert below 0 or from E on, which a count would append or fail on.
    """
    if selected_experts.numel():
        for expert in map(int, selected_experts.aminmax()):
            if not 0 <= expert < num_experts:
                raise ValueError(f"selected_experts hold {expert}, expected 0 to {num_experts - 1}")
    counted = selected_experts.flatten() if kept is None else selected_experts[kept]
    return torch.bincount(counted, minlength=num_experts)


@dataclass(frozen=True, eq=False)
class TokenChoice(Routing):
    """Each token chooses K experts: equations (13) and (14) of the paper; or up to K of them.

    In a compiled graph and on a GPU every slot sends a row, because shapes are fixed there; that of a slot which is not
    kept is 0.

    Attributes:
        selected_experts: (T, K) int64.
        routing_weights: (T, K) float32; the gradient reaches the router through them.
        kept: (T, K) bool, or None if all slots are. A slot that is not kept, because the token wants fewer experts,
            because its expert is full, or because it is padding, sends no row to an expert and has a weight of 0; its
            selected expert is an expert still.
    """

    selected_experts: Tensor = field(kw_only=True)
    routing_weights: Tensor = field(kw_only=True)
    kept: Tensor | None = field(default=None, kw_only=True)

    @cached_property
    def tokens_per_expert(self) -> Tensor:
        """(E,) int64, of the slots that are kept; a ValueError names an expert that there is not."""
        return count_assignments(self.selected_experts, self.num_experts, self.kept)

    @property
    def unserved_tokens(self) -> Tensor:
        """() int64, the tokens that count and of which no slot is kept."""
        if self.kept is None:
            return self.selected_experts.new_zeros(())
        unserved = ~self.kept.any(dim=1)
        return (unserved if self.mask is None else unserved & self.mask).sum()

    @property
    def experts_per_token(self) -> Tensor:
        """(T',) int64, the slots that are kept of each token that counts."""
        kept = torch.ones_like(self.selected_experts, dtype=torch.bool) if self.kept is None else self.kept
        numbers = kept.sum(dim=-1)
        return numbers if self.mask is None else numbers[self.mask]

    def masked(self, mask: Tensor | None) -> Self:
        """The same decision, of which a token where mask (T,) is False keeps no slot."""
        if mask is None:
            return self
        both = mask if self.mask is None else self.mask & mask
        return replace(self._keeping(mask.unsqueeze(1)), mask=both)

    def with_capacity(self, capacity: Capacity) -> Self:
        """At most `capacity` rows for each expert, the rest are dropped by position: an expert keeps its first tokens.

        A dropped slot has a weight of 0, and the other weights of its token stay as they are (Fedus et al. 2021,
        section 2.2), so that a token of which all slots are dropped has an output of 0: the residual around the layer
        is what it keeps. A token whose place in the batch is late is dropped more often.
        """
        num_slots = self.selected_experts.numel()
        key = self.selected_experts if self.kept is None else self.selected_experts.where(self.kept, self.num_experts)
        expert_index, order = key.flatten().sort(stable=True)
        first = torch.searchsorted(expert_index, torch.arange(self.num_experts + 1, device=key.device))
        place = torch.arange(num_slots, device=key.device) - first[expert_index]
        fits = place < capacity.rows(num_slots if self.kept is None else self.kept.sum(), self.num_experts)
        return self._keeping(torch.empty_like(fits).scatter(0, order, fits).view_as(key))

    def _keeping(self, kept: Tensor) -> Self:
        kept = kept.expand_as(self.selected_experts) if self.kept is None else self.kept & kept
        return replace(self, kept=kept, routing_weights=self.routing_weights.where(kept, 0.0))

    @cached_property
    def _cached_rows(self) -> tuple[Tensor, Tensor]:
        return self._sort_rows()

    @property
    def _rows(self) -> tuple[Tensor, Tensor]:
        """The slots (N,) that send a row, sorted by expert (stable: by token within an expert), and their experts."""
        return self._sort_rows() if torch.compiler.is_compiling() else self._cached_rows

    def _sort_rows(self) -> tuple[Tensor, Tensor]:
        experts = self.selected_experts.flatten()
        if self.kept is None or shapes_are_fixed(experts):
            expert_index, slots = experts.sort(stable=True)
            return slots, expert_index
        kept = self.kept.flatten().nonzero().squeeze(1)
        expert_index, order = experts[kept].sort(stable=True)
        return kept[order], expert_index

    @property
    def _is_one_token(self) -> bool:
        """A single token on a CPU: its row needs no copies, which a GPU's grouped product wants to have."""
        return self.kept is None and not shapes_are_fixed(self.selected_experts) and self.selected_experts.shape[0] == 1

    def dispatch(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """A copy of each token for each of its experts, N = T·K less the slots that are not kept."""
        slots, expert_index = self._rows
        if self._is_one_token:
            return hidden_states.expand(len(slots), -1), expert_index
        rows = hidden_states[slots // self.selected_experts.shape[1]]
        if self.kept is not None and shapes_are_fixed(rows):
            rows = rows.where(self.kept.flatten()[slots].unsqueeze(1), 0.0)
        return rows, expert_index

    def combine(self, expert_outputs: Tensor) -> Tensor:
        """y_t = Σ_k w_tk · output_tk over the slots that are kept, in the outputs' dtype.

        The rows are gathered back instead of added up in place: no atomics, so the sum is the same in every run.
        """
        slots, _ = self._rows
        num_tokens, top_k = self.selected_experts.shape
        if self._is_one_token:
            return self.routing_weights.index_select(1, slots).to(expert_outputs.dtype) @ expert_outputs
        if self.kept is None:
            position = torch.empty_like(slots).scatter_(0, slots, torch.arange(len(slots), device=slots.device))
            by_slot = expert_outputs.index_select(0, position)
        else:
            by_slot = expert_outputs.new_zeros(num_tokens * top_k, expert_outputs.shape[-1])
            by_slot = by_slot.index_copy(0, slots, expert_outputs).where(self.kept.reshape(-1, 1), 0.0)
        by_token = by_slot.view(num_tokens, top_k, expert_outputs.shape[-1])
        weights = self.routing_weights.to(expert_outputs.dtype)
        return torch.bmm(weights.unsqueeze(1), by_token).squeeze(1)
