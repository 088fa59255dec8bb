"""The ground truth: per token, in float64, slow and plain.

Axes: T tokens, D hidden size, E experts, K experts per token.

Everything the fast code does for a whole batch is done here for one token at a time: probabilities from a batch of one,
selection by sorting a Python list, one matrix-vector product after the other. Autograd runs through it, so gradients
are compared as well. It knows token choice alone.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from routers.base import Router
from routers.experts import FeedForwardExperts
from routers.moe_layer import MoELayer
from routers.routing import TokenChoice

Module = TypeVar("Module", bound=torch.nn.Module)


@dataclass(frozen=True)
class TokenReference:
    """One token's routing: probs (E,), the experts in order of preference (K), their weights (K)."""

    probs: Tensor
    selected: list[int]
    weights: list[Tensor]


def reference_routing(router: Router, hidden_states: Tensor) -> list[TokenReference]:
    """Equations (12) to (14), token by token.

    Args:
        router: in float64, see `as_float64`.
        hidden_states: (T, D) float64.
    """
    tokens = []
    for token in hidden_states:
        probs = router.compute_router_probabilities(token.unsqueeze(0))[0]
        values = probs.tolist()
        selected = sorted(range(len(values)), key=lambda e: (-values[e], e))[: router.top_k]
        total = sum((probs[e] for e in selected), start=probs.new_zeros(())) if router.norm_topk_prob else 1.0
        tokens.append(TokenReference(probs, selected, [probs[e] / total for e in selected]))
    return tokens


def reference_forward(layer: MoELayer, hidden_states: Tensor) -> Tensor:
    """y_t = Σ w_e · expert_e(x_t) over the selected experts, (T, D) -> (T, D), in float64.

    Args:
        layer: in float64, with `FeedForwardExperts`.
        hidden_states: (T, D) float64.
    """
    experts = layer.experts
    assert isinstance(experts, FeedForwardExperts)
    rows = []
    for token, routing in zip(hidden_states, reference_routing(layer.router, hidden_states), strict=True):
        row = torch.zeros_like(token)
        for expert, weight in zip(routing.selected, routing.weights, strict=True):
            row = row + weight * reference_expert(experts, expert, token)
        if layer.router.straight_through:
            soft = torch.zeros_like(token)
            for expert in range(layer.router.num_experts):
                soft = soft + routing.probs[expert] * reference_expert(experts, expert, token)
            row = row.detach() + (soft - soft.detach())
        rows.append(row)
    return torch.stack(rows) if rows else hidden_states.clone()


def reference_expert(experts: FeedForwardExperts, expert: int, token: Tensor) -> Tensor:
    """One expert on one token, (D,) -> (D,)."""
    hidden = experts.activation(experts.up_weight[expert] @ token + experts.up_bias[expert])
    return experts.down_weight[expert] @ hidden + experts.down_bias[expert]


def as_float64(module: Module) -> Module:
    """A copy in float64; the original is untouched."""
    return copy.deepcopy(module).double()


def check_router(router: Router, hidden_states: Tensor, *, tokens: int = 64, tolerance: float = 1e-5) -> None:
    """Compare a router's batched forward with the reference on some of its tokens: what is timed must be right.

    Two experts whose probabilities differ by less than the tolerance may stand in either order, so the probabilities of
    the selected are compared, not their numbers.

    Args:
        router: any router; of another routing than token choice the probabilities alone are compared.
        hidden_states: (T, D), all of it routed.
        tokens: how many of the T are compared, evenly spread.
        tolerance: on probabilities and weights; 1e-5 is for float32.

    Raises:
        AssertionError: with the name of what differs, by how much, and where.
    """
    if not len(hidden_states):
        return
    exact = as_float64(router)
    index = torch.linspace(0, len(hidden_states) - 1, min(tokens, len(hidden_states))).long()
    with torch.no_grad():
        routing = router(hidden_states)
        reference = reference_routing(exact, hidden_states[index].double())
        expected_probs = torch.stack([token.probs for token in reference])
        _compare("router_probs", routing.router_probs[index], expected_probs, index, tolerance)
        if not isinstance(routing, TokenChoice):
            return
        expected_top = torch.stack([token.probs[token.selected] for token in reference])
        selected_probs = expected_probs.gather(1, routing.selected_experts[index])
        _compare("probabilities of selected_experts", selected_probs, expected_top, index, tolerance)
        expected_weights = torch.stack([torch.stack(token.weights) for token in reference])
        _compare("routing_weights", routing.routing_weights[index], expected_weights, index, tolerance)


def _compare(what: str, actual: Tensor, expected: Tensor, index: Tensor, tolerance: float) -> None:
    difference = (actual.double() - expected).abs().amax(dim=-1)
    # `not <=` instead of `>`: a NaN fails.
    if not bool((difference <= tolerance).all()):
        worst = int(torch.nan_to_num(difference, nan=torch.inf).argmax())
        raise AssertionError(
            f"{what} differ from the float64 reference by {float(difference[worst]):.3g} "
            f"at token {int(index[worst])}, expected at most {tolerance:.3g}"
        )
