"""A router that answers as transformers' own gates do.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.replacement.gate_forms import GateForm
from harness.replacement.moe_blocks import MoEBlock
from harness.replacement.router_config import RouterConfig
from harness.replacement.unwrap import with_values
from routers import Router, SelectionRule, TokenChoice


class RouterGate(nn.Module):
    """A router as a block's gate: (T, D) or (B, S, D) -> logits (T, E), weights (T, K), experts (T, K).

    That is what nearly all blocks expect; the form says where a block expects more or something else. The logits
    are the router's, or log p where it has probabilities alone: transformers' load-balancing loss takes their softmax,
    which is p either way. The router computes in its own dtype; the weights come
    back in that of the hidden states, which is what the experts multiply, or in float32 where the model's own do.

    Args:
        router: chooses experts for tokens.
        router_config: what the router was made of, which is saved with it.
        scaling: multiplies all weights, of a router that cannot have the model's own rule, whose scale it is.
        form: how the block is answered.
        replaced_rule: by which the gate selected that stood here.

    Raises:
        ValueError: the router says that it does not choose experts for tokens, or one of its options needs an
            `MoELayer` around it, and would do nothing here: a block's own experts see the tokens that chose them alone,
            and its gate sees hidden states alone.
    """

    def __init__(
        self,
        router: Router,
        router_config: RouterConfig,
        scaling: float = 1.0,
        form: GateForm | None = None,
        replaced_rule: SelectionRule | None = None,
    ) -> None:
        super().__init__()
        self.form = GateForm(router) if form is None else form
        self.form.check(router_config.name, router.top_k)
        if not router.is_token_choice:
            raise ValueError(
                f"{router_config.name}: a block of a language model needs a router that chooses experts for each token"
            )
        if router.layer_options:
            raise ValueError(
                f"{router_config.name}: {', '.join(router.layer_options)} would have no effect in a language model's "
                "block; an MoELayer alone has it"
            )
        self.router = router
        self.router_config = router_config
        self.scaling = scaling
        self.replaced_rule = replaced_rule
        # What transformers and others read off a gate.
        self.top_k = router.top_k
        self.num_experts = router.num_experts
        self.hidden_dim = router.hidden_size
        self.norm_topk_prob = router.norm_topk_prob

    def forward(self, hidden_states: Tensor, *_others: Any, **_more: Any) -> Any:
        """Route a batch. What else a model calls its own gate with (a bias, token ids, a state) is the rule's affair.

        Raises:
            TypeError: the router does not choose experts for tokens.
        """
        routing = self.router(self.form.prepare(hidden_states))
        if not isinstance(routing, TokenChoice):
            raise TypeError(
                f"{type(self.router).__name__} gives a {type(routing).__name__}; a block of a language model needs a "
                "router that chooses experts for each token"
            )
        weights = routing.routing_weights
        if self.scaling != 1.0:
            weights = weights * self.scaling
        weights = weights.to(self.form.weights_dtype or hidden_states.dtype)
        # The field itself where there is one: torch.compile breaks its graph at the lock of a cached property.
        logits = routing.router_logits if routing.logits is None else routing.logits
        return self.form.give((logits, weights, routing.selected_experts), hidden_states)

    def extra_repr(self) -> str:
        """The scaling, where there is one."""
        return "" if self.scaling == 1.0 else f"scaling={self.scaling}"


@dataclass(frozen=True, eq=False)
class GateSwap:
    """A gate of a model and its replacement.

    Attributes:
        block: the block whose gate it is.
        original: the model's own gate.
        gate: the gate that takes its place.
    """

    block: MoEBlock
    original: nn.Module
    gate: RouterGate

    @property
    def router(self) -> Router:
        """The new router."""
        return self.gate.router


def copy_linear(swap: GateSwap) -> None:
    """Give a linear router the original gate's weights, and its bias if both have one.

    Raises:
        ValueError: the router has no weight (E, D), or the original none that can be copied.
    """
    original = swap.original
    with torch.no_grad(), ExitStack() as values:
        for module in original.modules():
            values.enter_context(with_values(module))
        _copy_linear(swap.router, type(original).__name__, *swap.block.family.form.linear_map(original))


def _copy_linear(router: Router, name: str, weight: Any, bias: Any) -> None:
    ours = getattr(router, "weight", None)
    if not isinstance(ours, nn.Parameter) or ours.shape != (router.num_experts, router.hidden_size):
        raise ValueError(f"{type(router).__name__} has no weight (E, D) that the original gate's could be copied into")
    if not isinstance(weight, Tensor) or weight.shape != ours.shape or not weight.is_floating_point():
        raise ValueError(f"{name} has no float weight {tuple(ours.shape)} that could be copied")
    if weight.is_meta and not ours.is_meta:
        raise ValueError(f"{name} has no values that could be copied (meta device)")
    ours.copy_(weight)
    our_bias = getattr(router, "bias", None)
    if isinstance(bias, Tensor):
        if our_bias is None:
            raise ValueError(f"{name} has a bias: give the linear router one (bias=True)")
        our_bias.copy_(bias)
