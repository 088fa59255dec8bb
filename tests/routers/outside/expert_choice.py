"""Expert choice, with a reference of its own. Axes: T tokens, D hidden size, E experts, C capacity, N = E·C rows."""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from routers import LogitRouter, Routing
from routers.reference.routing import ReferenceRouting


@dataclass(frozen=True, eq=False)
class RowWeights(Routing):
    """Row n is token `tokens[n]` for expert `expert_index[n]`, its output added at the token with `weights[n]`."""

    tokens: torch.Tensor = field(kw_only=True)
    expert_index: torch.Tensor = field(kw_only=True)
    weights: torch.Tensor = field(kw_only=True)

    @property
    def experts_per_token(self):
        return torch.bincount(self.tokens, minlength=len(self.router_probs))

    @property
    def tokens_per_expert(self):
        return torch.bincount(self.expert_index, minlength=self.num_experts)

    def dispatch(self, hidden_states):
        return hidden_states[self.tokens], self.expert_index

    def combine(self, expert_outputs):
        output = expert_outputs.new_zeros(len(self.router_probs), expert_outputs.shape[1])
        return output.index_add(0, self.tokens, self.weights[:, None].to(expert_outputs.dtype) * expert_outputs)


class OutsideExpertChoiceRouter(LogitRouter):
    """Each expert takes its C = ⌈K·T/E⌉ best tokens (Zhou et al. 2022)."""

    deterministic_per_token = False
    is_token_choice = False
    selects_by_itself = True

    def __init__(self, **sizes_and_options):
        super().__init__(**sizes_and_options)
        self.weight = torch.nn.Parameter(torch.randn(self.num_experts, self.hidden_size) * 0.02)

    def capacity(self, num_tokens):
        return min(num_tokens, math.ceil(self.top_k * num_tokens / self.num_experts))

    def compute_router_logits(self, hidden_states):
        return F.linear(hidden_states.to(self.weight.dtype), self.weight)

    def forward(self, hidden_states, *, token_ids=None):
        routing = super().forward(hidden_states, token_ids=token_ids)
        capacity = self.capacity(len(routing.router_probs))
        # Stable: of tokens that are alike the first come first, as in the reference.
        ranked = routing.router_probs.t().sort(dim=-1, descending=True, stable=True)
        index = torch.arange(self.num_experts).repeat_interleave(capacity)
        return RowWeights(
            self.num_experts,
            logits=routing.logits,
            tokens=ranked.indices[:, :capacity].flatten(),
            expert_index=index,
            weights=ranked.values[:, :capacity].flatten(),
        )

    def reference(self, hidden_states):
        num_tokens, columns = len(hidden_states), []
        for token in hidden_states:
            exponentials = [(weight @ token).exp() for weight in self.weight]
            columns.append([each / sum(exponentials) for each in exponentials])
        rows, expert_index = [], []
        for expert in range(self.num_experts):
            order = sorted(range(num_tokens), key=lambda t, e=expert: -float(columns[t][e].detach()))
            rows += [(token, columns[token][expert]) for token in order[: self.capacity(num_tokens)]]
            expert_index += [expert] * self.capacity(num_tokens)
        dispatch = torch.eye(num_tokens, dtype=torch.float64)[[token for token, _ in rows]]
        weights = torch.stack([weight for _, weight in rows]) if rows else dispatch[:, :0].sum(dim=1)
        probs = [torch.stack(column) for column in columns]
        return ReferenceRouting(
            torch.stack(probs) if probs else torch.zeros(0, self.num_experts).double(),
            dispatch,
            expert_index,
            dispatch.T * weights,
        )
