"""The Mixture-of-Experts layer. Axes: B batch, S sequence, T tokens, D hidden size, E experts, N expert rows."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from routers.base import Router
from routers.experts import FeedForwardExperts
from routers.registry import create_router
from routers.routing import Routing

DEFAULT_TOP_K = 2


class MoELayer(nn.Module):
    """A router and its experts, in place of a feed-forward network: same shape in and out (section III-B8).

    The forward does not ask what kind of router it holds: the routing says which rows go to which expert and how their
    outputs return.

    Args:
        hidden_size: D.
        intermediate_size: I, of each expert, where they are made here.
        num_experts: E.
        router: a `Router`, or a registered name; a name is created with `top_k` and `router_options`
            (norm_topk_prob, straight_through, check_finite and the variant's own).
        top_k: K, 2 unless given; a router that is made already has its own, which must be this where it is given.
        experts: a module (expert_inputs (N, D), expert_index (N,)) -> (N, D); `FeedForwardExperts` by default. Where it
            says its `num_experts` and `hidden_size`, they must be the layer's.
        **router_options: for a router given by name.

    Raises:
        ValueError: the router's or the experts' sizes are not the layer's, or options come with a router that is
            already made.
    """

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        num_experts: int,
        router: Router | str,
        *,
        top_k: int | None = None,
        experts: nn.Module | None = None,
        **router_options: Any,
    ) -> None:
        super().__init__()
        if isinstance(router, str):
            router = create_router(
                router,
                hidden_size=hidden_size,
                num_experts=num_experts,
                top_k=DEFAULT_TOP_K if top_k is None else top_k,
                **router_options,
            )
        elif router_options:
            raise ValueError(f"options {sorted(router_options)} belong to the router, which is already made")
        elif top_k not in (None, router.top_k):
            raise ValueError(f"top_k is {top_k}, the router that is already made has {router.top_k}")
        if (router.hidden_size, router.num_experts) != (hidden_size, num_experts):
            raise ValueError(
                f"the router has hidden_size {router.hidden_size} and {router.num_experts} experts, "
                f"expected {hidden_size} and {num_experts}"
            )
        for name, expected in (("num_experts", num_experts), ("hidden_size", hidden_size)):
            if isinstance(found := getattr(experts, name, expected), int) and found != expected:
                raise ValueError(f"the experts have {name} {found}, expected {expected}")
        self.hidden_size = hidden_size
        self.router = router
        self.experts = FeedForwardExperts(num_experts, hidden_size, intermediate_size) if experts is None else experts

    def forward(self, hidden_states: Tensor, **side_inputs: Any) -> Tensor:
        """(T, D) or (B, S, D) -> the same shape; side inputs go to the router, which refuses those it does not know."""
        return self.forward_with_routing(hidden_states, **side_inputs)[0]

    def forward_with_routing(self, hidden_states: Tensor, **side_inputs: Any) -> tuple[Tensor, Routing]:
        """The output, and the routing behind it for losses and metrics."""
        routing: Routing = self.router(hidden_states, **side_inputs)
        expert_inputs, expert_index = routing.dispatch(hidden_states.reshape(-1, self.hidden_size))
        output = routing.combine(self.experts(expert_inputs, expert_index))
        return output.view_as(hidden_states), routing
