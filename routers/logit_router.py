"""LogitRouter: a router that has logits. Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from routers.base import Router
from routers.precision import at_least_float32
from routers.routing import Routing, expert_softmax
from routers.routing.mask import flat_mask


class LogitRouter(Router):
    """A router whose probabilities are the softmax of logits. Selects on the logits, which is exact and cheaper.

    `compute_router_probabilities` is the scorer's own distribution, whatever the rule; the rule's are the routing's.

    Examples:
        >>> import torch
        >>> class FirstValues(LogitRouter):
        ...     def compute_router_logits(self, hidden_states):
        ...         return hidden_states[..., : self.num_experts]
        >>> router = FirstValues(hidden_size=3, num_experts=2, top_k=1)
        >>> router(torch.tensor([[0.5, 2.0, 9.0]])).selected_experts
        tensor([[1]])
    """

    @abstractmethod
    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """Logits (…, D) -> (…, E), in the router's own dtype; the rule sees them in float32 at least, or as it says."""

    def compute_router_probabilities(self, hidden_states: Tensor) -> Tensor:
        """Softmax of the logits, (…, D) -> (…, E)."""
        return expert_softmax(self.compute_router_logits(hidden_states))

    def unmasked_logits(self, hidden_states: Tensor) -> Tensor:
        """See `Router.unmasked_logits`."""
        return at_least_float32(self.in_rules_dtype(self.compute_router_logits, self.flatten(hidden_states)))

    def forward(self, hidden_states: Tensor, *, token_ids: Tensor | None = None, mask: Tensor | None = None) -> Routing:
        """Route a batch, see `Router.forward`; full probabilities are computed only when asked for."""
        routing = self.select(logits=self.checked_logits(hidden_states))
        return routing if mask is None else routing.masked(flat_mask(mask, hidden_states.shape))

    def checked_logits(self, hidden_states: Tensor) -> Tensor:
        """What a selection begins with: logits in the rule's dtype, (T, D) or (B, S, D) -> (T, E).

        Raises:
            ValueError: the last axis is not D, or as `check_finite` says.
        """
        logits = self.in_rules_dtype(self.compute_router_logits, self.flatten(hidden_states))
        logits = self.selection.in_precision(logits)
        if self.check_finite:  # −∞ masks an expert, so that the largest is looked at
            self.refuse_overflow("the largest logit is", logits.amax(dim=-1, keepdim=True))
        return logits
