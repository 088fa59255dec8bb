"""The ground truth: per token, in float64, slow and plain.

Axes: T tokens, D hidden size, E experts, K experts per token.

Everything the fast code does for a whole batch is done here for one token at a time: probabilities from a batch of one,
selection by sorting a Python list, one matrix-vector product after the other. Autograd runs through it, so gradients
are compared as well. It knows token choice alone, by whatever selection rule (`reference_rule.py`); a definition of
another kind brings its own (`Router.reference`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from routers.base import Router
from routers.layer.experts import FeedForwardExperts, GatedExperts
from routers.layer.moe_layer import MoELayer
from routers.logit_router import LogitRouter
from routers.reference.rounding import decided_masks, expected_rounding
from routers.reference.routing import ReferenceRouting, TokenReference
from routers.reference.rule import reference_selection
from routers.reference.scale import compare_scale
from routers.routing import Routing, TokenChoice

Module = TypeVar("Module", bound=torch.nn.Module)


def reference_routing(router: Router, hidden_states: Tensor) -> list[TokenReference] | ReferenceRouting:
    """The router's own reference; else equations (12) to (14), or what its selection rule is, token by token.

    Args:
        router: in float64, see `as_float64`.
        hidden_states: (T, D) float64.
    """
    if router.reference is not None:
        return router.reference(hidden_states)
    tokens = []
    for token in hidden_states:
        if not router.selection.is_softmax_top_k:
            tokens.append(_by_rule(router, token.unsqueeze(0)))
            continue
        probs = router.compute_router_probabilities(token.unsqueeze(0))[0]
        values = probs.tolist()
        selected = sorted(range(len(values)), key=lambda e: (-values[e], e))[: router.top_k]
        total = sum((probs[e] for e in selected), start=probs.new_zeros(())) if router.norm_topk_prob else 1.0
        weights = [probs[e] / total * router.selection.scale for e in selected]
        tokens.append(TokenReference(probs, selected, weights))
    return tokens


def _by_rule(router: Router, token: Tensor) -> TokenReference:
    """The rule on the logits of a batch of one, (1, D); of a scorer without logits on log p."""
    if isinstance(router, LogitRouter):
        logits = router.compute_router_logits(token)[0]
    else:
        logits = router.compute_router_probabilities(token)[0].clamp_min(torch.finfo(token.dtype).tiny).log()
    return reference_selection(router.selection, logits, router.top_k, router.selection_bias, router.expert_scale)


def reference_forward(layer: MoELayer, hidden_states: Tensor) -> Tensor:
    """y_t = Σ w_e · expert_e(x_t) over the selected experts, (T, D) -> (T, D), in float64.

    Args:
        layer: in float64, with experts of one of this package's forms.
        hidden_states: (T, D) float64.
    """
    experts = layer.experts
    reference = reference_routing(layer.router, hidden_states)
    if isinstance(reference, ReferenceRouting):
        if not len(hidden_states):
            return hidden_states.clone()
        inputs = zip(reference.expert_index, reference.dispatch @ hidden_states, strict=True)
        outputs = [reference_expert(experts, expert, row) for expert, row in inputs]
        return reference.combine @ torch.stack(outputs)
    rows = []
    for token, routing in zip(hidden_states, reference, strict=True):
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


def _feed_forward(experts: FeedForwardExperts, expert: int, token: Tensor) -> Tensor:
    hidden = experts.activation(experts.up_weight[expert] @ token + experts.up_bias[expert])
    return experts.down_weight[expert] @ hidden + experts.down_bias[expert]


def _gated(experts: GatedExperts, expert: int, token: Tensor) -> Tensor:
    hidden = experts.activation(experts.gate_weight[expert] @ token) * (experts.up_weight[expert] @ token)
    return experts.down_weight[expert] @ hidden


_NETWORKS: dict[type[nn.Module], Callable[[Any, int, Tensor], Tensor]] = {
    FeedForwardExperts: _feed_forward,
    GatedExperts: _gated,
}


def reference_expert(experts: nn.Module, expert: int, token: Tensor) -> Tensor:
    """One expert of a bank of one of this package's forms on one token, (D,) -> (D,)."""
    return _NETWORKS[type(experts)](experts, expert, token)


def as_float64(module: Module) -> Module:
    """A copy in float64; the original is untouched."""
    return copy.deepcopy(module).double()


def check_router(
    router: Router, hidden_states: Tensor, *, tokens: int = 64, tolerance: float | None = 1e-5, seed: int = 0
) -> None:
    """Compare a router's batched forward with the reference on some of its tokens: what is timed must be right.

    Two experts whose probabilities differ by less than the tolerance may stand in either order, so the probabilities of
    the selected are compared, not their numbers. Of a rule that ranks something else, tokens whose decision was closer
    than the tolerance are left out of what follows from it.

    Args:
        router: any router; of another routing than token choice the probabilities alone are compared, unless it brings
            its own reference (`Router.reference`).
        hidden_states: (T, D), all of it routed.
        tokens: how many of the T are compared, evenly spread; all where the router brings its own reference.
        tolerance: on probabilities and weights; 1e-5 is for float32, None follows the dtype and the sizes, see
            `expected_rounding`.
        seed: of torch's generator before the router and before the reference, of one that draws from it.

    Raises:
        AssertionError: with the name of what differs, by how much, and where.
    """
    if not len(hidden_states):
        return
    exact = as_float64(router)
    index = torch.linspace(0, len(hidden_states) - 1, min(tokens, len(hidden_states))).long()
    if router.reference is not None:
        index = torch.arange(len(hidden_states))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        routing = router(hidden_states)
        torch.manual_seed(seed)
        reference = reference_routing(exact, hidden_states[index].double())
        unmasked = _unmasked(exact, hidden_states[index].double())
        if tolerance is None:
            exact_probs = (
                reference.probs
                if isinstance(reference, ReferenceRouting)
                else torch.stack([token.probs for token in reference])
            )
            tolerance = expected_rounding(router, hidden_states, exact_probs, unmasked)
        if isinstance(reference, ReferenceRouting):
            _compare("router_probs", routing.router_probs, reference.probs, index, tolerance)
            _compare_rows(routing, hidden_states, reference, tolerance)
            return
        if router.selection.is_softmax_top_k and router.reference is None:
            if unmasked is not None:  # of a mask that rounding decides nothing follows but what is before it
                _compare_unmasked(router, hidden_states, unmasked, index, tolerance)
                decided = decided_masks(router, hidden_states, unmasked).tolist()
                reference = [token for token, kept in zip(reference, decided, strict=True) if kept]
                index = index[torch.tensor(decided)]
            if reference:
                _compare_softmax(routing, reference, index, tolerance)
            return
        _compare_rule(router, routing, reference, index, tolerance)


def _unmasked(exact: Router, hidden_states: Tensor) -> Tensor | None:
    """Probabilities before the mask of a router that masks logits, (T, D) -> (T, E); None of any other."""
    if not exact.masks_logits or not exact.selection.is_softmax_top_k:
        return None
    logits: Tensor = exact.unmasked_logits(hidden_states)
    return logits.softmax(dim=-1)


def _compare_unmasked(router: Router, hidden_states: Tensor, expected: Tensor, index: Tensor, tolerance: float) -> None:
    """What a router makes of the tokens before it masks anything."""
    found = router.unmasked_logits(hidden_states)[index].double().softmax(dim=-1)
    _compare("probabilities before the mask", found, expected, index, tolerance)
    compare_scale(found, expected)


def _compare_softmax(routing: Routing, reference: list[TokenReference], index: Tensor, tolerance: float) -> None:
    """Probabilities, those of the selected, whose order may be another where they are alike, and weights."""
    expected_probs = torch.stack([token.probs for token in reference])
    _compare("router_probs", routing.router_probs[index], expected_probs, index, tolerance)
    compare_scale(routing.router_probs[index].double(), expected_probs)
    if not isinstance(routing, TokenChoice):
        return
    expected_top = torch.stack([token.probs[token.selected] for token in reference])
    selected_probs = expected_probs.gather(1, routing.selected_experts[index])
    _compare("probabilities of selected_experts", selected_probs, expected_top, index, tolerance)
    expected_weights = torch.stack([torch.stack(token.weights) for token in reference])
    _compare("routing_weights", routing.routing_weights[index], expected_weights, index, tolerance)


def _compare_rule(
    router: Router, routing: Routing, reference: list[TokenReference], index: Tensor, tolerance: float
) -> None:
    """Scores, what is ranked, and for tokens that are decided the experts and their weights, whatever their order."""
    probs = torch.stack([token.probs for token in reference])
    scores = torch.stack([token.probs if token.scores is None else token.scores for token in reference])
    ranked = torch.stack([token.probs if token.ranked is None else token.ranked for token in reference])
    of_size = 1 + scores.abs()
    _compare("router_scores", routing.router_scores[index] / of_size, scores / of_size, index, tolerance)
    if not router.selection.is_softmax_top_k:  # which ranks logits, whose order is the same
        of_size = 1 + ranked.abs()
        _compare("ranked", routing.ranked[index] / of_size, ranked / of_size, index, tolerance)
    # Where scores sum to next to nothing, their rounding is a large part of them.
    sums = scores.sum(dim=-1, keepdim=True).clamp(0, 1)
    _compare("router_probs", routing.router_probs[index] * sums, probs * sums, index, tolerance)
    if not isinstance(routing, TokenChoice):
        return
    expected = torch.zeros(len(index), routing.num_experts, dtype=torch.float64)
    taken = torch.zeros_like(expected)
    for row, token in enumerate(reference):
        taken[row, token.selected] = 1.0
        if token.selected:
            expected[row, token.selected] = torch.stack(token.weights)
    selected, weights = routing.selected_experts[index], routing.routing_weights[index].double()
    kept = torch.ones_like(weights) if routing.kept is None else routing.kept[index].double()
    rounding = 2 * tolerance * (1 + ranked.abs().amax(dim=-1))
    decided = torch.tensor([token.margin for token in reference], dtype=torch.float64) > rounding
    for what, found, wanted in (("selected_experts", kept, taken), ("routing_weights", weights, expected)):
        dense = torch.zeros_like(expected).scatter_add(1, selected, found)
        size = 1 + wanted.abs().amax(dim=-1, keepdim=True)
        _compare(what, (dense / size)[decided], (wanted / size)[decided], index[decided], tolerance)


def _compare_rows(routing: Routing, hidden_states: Tensor, reference: ReferenceRouting, tolerance: float) -> None:
    """Tokens there and back, with experts that multiply each feature with a number of their own."""
    factors = torch.randn(routing.num_experts, hidden_states.shape[1], dtype=torch.float64)
    rows, expert_index = routing.dispatch(hidden_states)
    output = routing.combine(rows * factors[expert_index].to(rows.dtype))
    expected = reference.combine @ (reference.dispatch @ hidden_states.double() * factors[reference.expert_index])
    size = 1 + expected.abs().amax(dim=-1, keepdim=True)
    if rows.dtype.itemsize < torch.float32.itemsize:  # of which rows and outputs are, whatever the router is in
        tolerance = max(tolerance, 4 * torch.finfo(rows.dtype).eps)
    decided = torch.arange(len(size))
    if reference.margin is not None:  # rounding may give a row to the one or the other of two tokens that are alike
        decided = decided[reference.margin > 2 * tolerance]
    _compare("outputs", (output / size)[decided], (expected / size)[decided], decided, tolerance)


def _compare(what: str, actual: Tensor, expected: Tensor, index: Tensor, tolerance: float) -> None:
    if not len(index):
        return
    difference = (actual.double() - expected).abs().amax(dim=-1)
    # `not <=` instead of `>`: a NaN fails.
    if not bool((difference <= tolerance).all()):
        worst = int(torch.nan_to_num(difference, nan=torch.inf).argmax())
        raise AssertionError(
            f"{what} differ from the float64 reference by {float(difference[worst]):.3g} "
            f"at token {int(index[worst])}, expected at most {tolerance:.3g}"
        )
