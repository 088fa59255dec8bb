"""Soft MoE, with a reference of its own. Axes: T tokens, D hidden size, E experts, one slot an expert."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from routers import LogitRouter, Routing
from routers.reference.routing import ReferenceRouting


@dataclass(frozen=True, eq=False)
class Slots(Routing):
    """Every row is a mixture of all tokens, every token a mixture of all rows."""

    @property
    def tokens_per_expert(self):
        return torch.ones(self.num_experts, dtype=torch.int64)

    def dispatch(self, hidden_states):
        mixtures = self.logits.softmax(dim=0).to(hidden_states.dtype).T
        return mixtures @ hidden_states, torch.arange(self.num_experts)

    def combine(self, expert_outputs):
        return self.router_probs.to(expert_outputs.dtype) @ expert_outputs


class OutsideSoftRouter(LogitRouter):
    """Softmax over tokens into the slots, over slots back (Puigcerver et al. 2024)."""

    deterministic_per_token = False
    is_token_choice = False
    selects_by_itself = True

    def __init__(self, **sizes_and_options):
        super().__init__(**sizes_and_options)
        self.slots = torch.nn.Parameter(torch.randn(self.num_experts, self.hidden_size) * 0.02)

    def compute_router_logits(self, hidden_states):
        return F.linear(hidden_states.to(self.slots.dtype), self.slots)

    def forward(self, hidden_states, *, token_ids=None):
        return Slots(self.num_experts, logits=super().forward(hidden_states, token_ids=token_ids).logits)

    def reference(self, hidden_states):
        rows = [torch.stack([(slot @ token).exp() for slot in self.slots]) for token in hidden_states]
        exponentials = torch.stack(rows) if rows else torch.zeros(0, self.num_experts).double()
        back = exponentials / exponentials.sum(dim=1, keepdim=True)
        into = (exponentials / exponentials.sum(dim=0)).T
        return ReferenceRouting(back, into, list(range(self.num_experts)), back)
