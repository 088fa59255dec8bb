"""The Mixture-of-Experts layer. Axes: B batch, S sequence, T tokens, D hidden size, E experts, N expert rows."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from routers.base import Router
from routers.layer.experts import create_experts
from routers.layer.shared_experts import SharedExperts
from routers.registry import create_router
from routers.routing import Routing
from routers.routing.capacity import Capacity
from routers.routing.mask import flat_mask

DEFAULT_TOP_K = 2


class MoELayer(nn.Module):
    """A router and its experts, in place of a feed-forward network: same shape in and out (section III-B8).

    The forward does not ask what kind of router it holds: the routing says which rows go to which expert and how their
    outputs return. `torch.compile(fullgraph=True)` and `torch.export` take it whole.

    Args:
        hidden_size: D.
        intermediate_size: I, of each expert, where they are made here.
        num_experts: E.
        router: a `Router`, or a registered name; a name is created with `top_k` and `router_options`
            (norm_topk_prob, straight_through, check_finite and the variant's own).
        top_k: K, 2 unless given; a router that is made already has its own, which must be this where it is given.
        experts: "gelu" (`FeedForwardExperts`) or "swiglu" (`GatedExperts`), which are made here; or a module
            (expert_inputs (N, D), expert_index (N,)) -> (N, D). Where it says its `num_experts` and `hidden_size`, they
            must be the layer's.
        capacity_factor: each expert takes at most ⌈capacity_factor · assignments / E⌉ rows of a batch, its first by
            position; a token's other rows keep their weights, and one of which all rows are dropped has an output of 0,
            so that it keeps what the residual around the layer gives it. None drops nothing.
        shared_intermediate_size: of `SharedExperts`, which every token goes through; None for none.
        shared_gate: give each token its share σ(w·x) of them.
        **router_options: for a router given by name.

    Raises:
        ValueError: the router's or the experts' sizes are not the layer's, options come with a router that is already
            made, an unknown form of experts, a capacity factor that is not finite and above 0, or a shared gate without
            shared experts.

    Examples:
        >>> import torch
        >>> layer = MoELayer(64, 96, 8, "linear", top_k=2, experts="swiglu")
        >>> layer(torch.randn(2, 16, 64)).shape
        torch.Size([2, 16, 64])
        >>> output, routing = layer.forward_with_routing(torch.randn(2, 16, 64))
        >>> int(routing.tokens_per_expert.sum())
        64
    """

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        num_experts: int,
        router: Router | str,
        *,
        top_k: int | None = None,
        experts: nn.Module | str = "gelu",
        capacity_factor: float | None = None,
        shared_intermediate_size: int | None = None,
        shared_gate: bool = False,
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
        if shared_gate and shared_intermediate_size is None:
            raise ValueError("shared_gate is True without shared experts, expected shared_intermediate_size as well")
        self.hidden_size = hidden_size
        self.router = router
        self.capacity = None if capacity_factor is None else Capacity.of(capacity_factor)
        kind, bank = (experts, None) if isinstance(experts, str) else ("gelu", experts)
        self.experts = create_experts(kind, num_experts, hidden_size, intermediate_size) if bank is None else bank
        self.shared_experts = (
            SharedExperts(hidden_size, shared_intermediate_size, kind=kind, gate=shared_gate)
            if shared_intermediate_size is not None
            else None
        )

    def forward(self, hidden_states: Tensor, *, mask: Tensor | None = None, **side_inputs: Any) -> Tensor:
        """(T, D) or (B, S, D) -> the same shape.

        Args:
            hidden_states: (T, D) or (B, S, D).
            mask: (T,) or (B, S) bool, True where the token counts; padding goes to no expert and has an output of 0.
            **side_inputs: for the router, which refuses those it does not know.

        Raises:
            ValueError: the mask is of other tokens, or the router does not heed it.
        """
        return self.forward_with_routing(hidden_states, mask=mask, **side_inputs)[0]

    def forward_with_routing(
        self, hidden_states: Tensor, *, mask: Tensor | None = None, **side_inputs: Any
    ) -> tuple[Tensor, Routing]:
        """The output, and the routing behind it for losses and metrics."""
        if mask is not None:
            flat = side_inputs["mask"] = flat_mask(mask, hidden_states.shape)
            assert flat is not None
            # What padding holds may be NaN, and 0 times that is no gradient of 0.
            hidden_states = hidden_states.where(flat.view(*hidden_states.shape[:-1], 1), 0.0)
        routing: Routing = self.router(hidden_states, **side_inputs)
        if mask is not None and routing.mask is None:
            raise ValueError(f"a mask is given, which {type(self.router).__name__} does not heed")
        if self.capacity is not None:
            routing = routing.with_capacity(self.capacity)
        tokens = hidden_states.reshape(-1, self.hidden_size)
        expert_inputs, expert_index = routing.dispatch(tokens)
        output = routing.combine(self.experts(expert_inputs, expert_index))
        if self.shared_experts is not None:
            shared = self.shared_experts(tokens)
            output = output + (shared if routing.mask is None else shared.where(routing.mask.unsqueeze(1), 0.0))
        return output.view_as(hidden_states), routing
