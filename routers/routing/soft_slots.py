"""Each expert works on mixtures of all tokens. Axes: T tokens, D hidden size, E experts, S slots per expert."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from routers.routing.routing import Routing


@dataclass(frozen=True, eq=False)
class SoftSlots(Routing):
    """Every row is a mixture of all tokens, and every token one of all rows: nothing is selected, nothing dropped.

    Puigcerver et al. 2024, "From Sparse to Soft Mixtures of Experts", equations 1 to 3: over the tokens the softmax of
    the slots' logits dispatches, over the slots it combines. What a token becomes depends on all tokens of the batch,
    later ones too, so that it suits no autoregressive decoder.

    Attributes:
        slot_logits: (T, E·S), the slots of an expert side by side.
    """

    slot_logits: Tensor = field(kw_only=True)

    @property
    def tokens_per_expert(self) -> Tensor:
        """(E,) int64, the S rows that each expert is given."""
        slots = self.slot_logits.shape[1] // self.num_experts
        return torch.full((self.num_experts,), slots, dtype=torch.int64, device=self.slot_logits.device)

    def dispatch(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Mixtures of the tokens that count, N = E·S."""
        logits = self.slot_logits
        if self.mask is not None:
            counts = self.mask.unsqueeze(1)
            # Not −∞, whose softmax over no token is NaN. And what padding holds may be NaN, which 0 does not undo.
            logits = logits.where(counts, torch.finfo(logits.dtype).min)
            hidden_states = hidden_states.where(counts, 0.0)
        shares = torch.softmax(logits, dim=0).to(hidden_states.dtype)
        slots = torch.arange(self.num_experts, device=logits.device)
        return shares.t() @ hidden_states, slots.repeat_interleave(logits.shape[1] // self.num_experts)

    def combine(self, expert_outputs: Tensor) -> Tensor:
        """y_t = Σ over the slots of a token's share of each · its output."""
        shares = torch.softmax(self.slot_logits, dim=1).to(expert_outputs.dtype)
        output = shares @ expert_outputs
        return output if self.mask is None else output.where(self.mask.unsqueeze(1), 0.0)
