"""Token choice with a gradient for all experts. Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from routers.routing.shapes import shapes_are_fixed
from routers.routing.token_choice import TokenChoice


@dataclass(frozen=True, eq=False)
class StraightThrough(TokenChoice):
    """Token choice forward, all experts backward: the straight-through estimator of the selection (section III-D1).

    The value is token choice's own. The gradient is that of Σ_e p_te · output_te over all E experts, as though nothing
    had been selected, nor dropped for want of room: every expert learns from every token that counts, and the router
    from every expert. It costs E/K times the experts' work.
    """

    def dispatch(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Every token that counts for every expert, N = E·T."""
        tokens = hidden_states
        if self.mask is not None:
            fixed = shapes_are_fixed(tokens)
            tokens = tokens.where(self.mask.unsqueeze(1), 0.0) if fixed else tokens[self.mask]
        num_tokens = tokens.shape[0]
        expert_index = torch.arange(self.num_experts, device=tokens.device).repeat_interleave(num_tokens)
        return tokens.repeat(self.num_experts, 1), expert_index

    def combine(self, expert_outputs: Tensor) -> Tensor:
        """Hard value, soft gradient: hard + (soft − soft) with all but the second soft detached."""
        by_expert = expert_outputs.view(self.num_experts, -1, expert_outputs.shape[-1])
        # Added, because a slot that is not kept may name the expert of one that is.
        hard_weights = torch.zeros_like(self.router_probs).scatter_add(1, self.selected_experts, self.routing_weights)
        probs, few = self.router_probs, self.mask is not None and not shapes_are_fixed(expert_outputs)
        if few:
            probs, hard_weights = probs[self.mask], hard_weights[self.mask]
        dtype = expert_outputs.dtype
        soft = torch.einsum("te,etd->td", probs.to(dtype), by_expert)
        hard = torch.einsum("te,etd->td", hard_weights.detach().to(dtype), by_expert.detach())
        output = hard + (soft - soft.detach())
        if self.mask is None:
            return output
        if few:
            output = output.new_zeros(len(self.mask), output.shape[-1]).index_copy(0, self.mask.nonzero()[:, 0], output)
        return output.where(self.mask.unsqueeze(1), 0.0)
