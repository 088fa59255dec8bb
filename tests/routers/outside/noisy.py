"""Noisy top-k, with a reference of its own that has the same noise. Axes: T tokens, D hidden size, E experts."""

import torch
import torch.nn.functional as F

from routers import LogitRouter
from routers.reference.rule import reference_selection


class OutsideNoisyRouter(LogitRouter):
    """ℓ = W x + ε/E, ε ~ N(0, 1) in training and 0 in evaluation, as in vmoe."""

    random_in_training = True

    def __init__(self, **sizes_and_options):
        super().__init__(**sizes_and_options)
        self.weight = torch.nn.Parameter(torch.randn(self.num_experts, self.hidden_size) * 0.02)

    def noise(self, num_tokens):
        """Drawn in float32 whatever the router's dtype, so that a reference in float64 has the same: (T, E)."""
        return torch.randn(num_tokens, self.num_experts) if self.training else torch.zeros(num_tokens, self.num_experts)

    def compute_router_logits(self, hidden_states):
        logits = F.linear(hidden_states.to(self.weight.dtype), self.weight)
        noise = self.noise(logits[..., 0].numel()).view(logits.shape).to(logits)
        return logits + noise / self.num_experts

    def reference(self, hidden_states):
        noise = self.noise(len(hidden_states)).double()
        return [self.reference_of(token, drawn) for token, drawn in zip(hidden_states, noise, strict=True)]

    def reference_of(self, token, drawn):
        experts = range(self.num_experts)
        clean = [self.weight[e] @ token for e in experts]
        logits = torch.stack([clean[e] + drawn[e] / self.num_experts for e in experts])
        return reference_selection(self.selection, logits, self.top_k, self.selection_bias, self.expert_scale)
