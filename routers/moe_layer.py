"""The Mixture-of-Experts layer. Axes: B batch, S sequence, T tokens, D hidden size, E experts, N expert rows."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from routers.base import Router
from routers.experts import FeedForwardExperts
from routers.registry import create_router
from routers.routing import Routing


class MoELayer(nn.Module):
    """A router and its experts, in place of a feed-forward network: same shape in and out (section III-B8).

    The forward does not ask what kind of router it holds: the routing says which rows go to which expert and how their
    outputs return.

    Args:
        hidden_size: D.
        intermediate_size: I, of each expert.
        num_experts: E.
        router: a `Router`, or a registered name; a name is created with `top_k` and `router_options`
            (norm_topk_prob, straight_through, check_finite and the variant's own).
        top_k: K, for a router given by name.
        experts: a module (expert_inputs (N, D), expert_index (N,)) -> (N, D); `FeedForwardExperts` by default.
        **router_options: for a router given by name.

    Raises:
        ValueError: the router's sizes are not the layer's, or options come with a router that is already made.
    """

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        num_experts: int,
        router: Router | str,
        *,
        top_k: int = 2,
        experts: nn.Module | None = None,
        **router_options: Any,
    ) -> None:
        super().__init__()
        if isinstance(router, str):
            router = create_router(
                router, hidden_size=hidden_size, num_experts=num_experts, top_k=top_k, **router_options
            )
        elif router_options:
            raise ValueError(f"options {sorted(router_options)} belong to the router, which is already made")
        if (router.hidden_size, router.num_experts) != (hidden_size, num_experts):
            raise ValueError(
                f"the router has hidden_size {router.hidden_size} and {router.num_experts} experts, "
                f"expected {hidden_size} and {num_experts}"
            )
        self.hidden_size = hidden_size
        self.router = router
        self.experts = FeedForwardExperts(num_experts, hidden_size, intermediate_size) if experts is None else experts

    def forward(self, hidden_states: Tensor, **side_inputs: Any) -> Tensor:
        """(T, D) or (B, S, D) -> the same shape; side inputs go to the router."""
        return self.forward_with_routing(hidden_states, **side_inputs)[0]

    def forward_with_routing(self, hidden_states: Tensor, **side_inputs: Any) -> tuple[Tensor, Routing]:
        """The output, and the routing behind it for losses and metrics."""
        routing: Routing = self.router(hidden_states, **side_inputs)
        expert_inputs, expert_index = routing.dispatch(hidden_states.reshape(-1, self.hidden_size))
        output = routing.combine(self.experts(expert_inputs, expert_index))
        return output.view_as(hidden_states), routing
