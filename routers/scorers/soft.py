"""Soft router. Axes: T tokens, D hidden size, E experts, S slots per expert."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routers.logit_router import LogitRouter
from routers.parameters import normal_parameter
from routers.precision import as_parameter_dtype, at_least_float32
from routers.reference.routing import ReferenceRouting
from routers.registry import register_router
from routers.routing import Routing, SoftSlots
from routers.routing.mask import flat_mask


@register_router("soft")
class SoftRouter(LogitRouter):
    """Slot logits s · x̂ᵀφ̂ of the token and each slot's direction, both of unit length: S slots for each expert.

    Puigcerver et al. 2024, "From Sparse to Soft Mixtures of Experts", section 2.3 with its normalisation (equation 4).
    Every expert has a part of every token, so that K is E, whatever `top_k` (which is checked); no selection rule has a
    say. A token's probability of an expert is the sum of its shares of the expert's slots, and its logit the logsumexp
    of theirs. D·E·S parameters, and one more.

    Args:
        slots_per_expert: S. An expert works on S rows, however many tokens there are.
        **sizes_and_options: see `Router`.

    Raises:
        ValueError: no slot.
    """

    is_token_choice = False
    measured_by_default = False
    selects_by_itself = True

    def __init__(self, *, slots_per_expert: int = 1, **sizes_and_options: Any) -> None:
        super().__init__(**sizes_and_options)
        if slots_per_expert < 1:
            raise ValueError(f"slots_per_expert is {slots_per_expert}, expected at least 1")
        self.top_k = self.num_experts
        self.slots_per_expert = slots_per_expert
        self.slots = normal_parameter(self.num_experts * slots_per_expert, self.hidden_size)
        self.scale = nn.Parameter(torch.ones(()))

    def compute_slot_logits(self, hidden_states: Tensor) -> Tensor:
        """(…, D) -> (…, E·S)."""
        tokens = as_parameter_dtype(hidden_states, self.slots)
        if self.check_finite:
            self.refuse_overflow("a token's length is", tokens.norm(dim=-1, keepdim=True).reshape(-1, 1))
        return at_least_float32(F.linear(F.normalize(tokens, dim=-1), F.normalize(self.slots, dim=-1) * self.scale))

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """The logsumexp over an expert's slots, (…, D) -> (…, E)."""
        return self._of_experts(self.compute_slot_logits(hidden_states))

    def _of_experts(self, slot_logits: Tensor) -> Tensor:
        by_expert = slot_logits.view(*slot_logits.shape[:-1], self.num_experts, self.slots_per_expert)
        return by_expert.logsumexp(dim=-1)

    def forward(self, hidden_states: Tensor, *, token_ids: Tensor | None = None, mask: Tensor | None = None) -> Routing:
        """Route a batch, see `Router.forward`; padding is in no slot's mixture."""
        slot_logits = self.compute_slot_logits(self.flatten(hidden_states))
        return SoftSlots(
            self.num_experts,
            logits=self._of_experts(slot_logits),
            mask=flat_mask(mask, hidden_states.shape),
            slot_logits=slot_logits,
        )

    def reference(self, hidden_states: Tensor) -> ReferenceRouting:
        """Slot by slot and token by token, in float64."""
        rows = []
        for token in hidden_states:
            length = token.square().sum().sqrt()
            cosines = [slot @ token / (slot.square().sum().sqrt() * length) for slot in self.slots]
            rows.append([torch.exp(self.scale * cosine) for cosine in cosines])
        num_slots = len(self.slots)
        if not rows:
            nothing = hidden_states.new_zeros(0, 0)
            return ReferenceRouting(hidden_states.new_zeros(0, self.num_experts), nothing, [], nothing)
        of_slots = [sum(row[slot] for row in rows) for slot in range(num_slots)]
        dispatch = torch.stack([torch.stack([row[slot] / of_slots[slot] for row in rows]) for slot in range(num_slots)])
        combine = torch.stack([torch.stack([value / sum(row) for value in row]) for row in rows])
        experts = [slot // self.slots_per_expert for slot in range(num_slots)]
        probs = torch.stack(
            [
                sum((combine[:, slot] for slot in range(num_slots) if experts[slot] == e), start=combine.new_zeros(()))
                for e in range(self.num_experts)
            ],
            dim=1,
        )
        return ReferenceRouting(probs, dispatch, experts, combine)
