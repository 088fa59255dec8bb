"""What a precision does to a router's decisions, against float64 with the same weights.

Axes: T tokens, D hidden size, E experts, K experts per token.

A decision is dense here, (T, E), so that it does not matter in which order experts stand, how many a token has, or who
chose. `PRECISIONS` has what is compared with what, `decide` makes the decisions, `QUANTITIES` measures the difference.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from routers.base import Router
from routers.routing import ExpertChoice, Routing, SoftSlots, TokenChoice
from routers.selection.steps import keep_best_groups

LOW_SHARE = 0.05
"""The quantile of the rank margin that is measured beside its median."""


@dataclass(frozen=True)
class Precision:
    """What is rounded, and what the decisions made with it are compared with.

    Attributes:
        label: for a heading.
        definition: in words, for the middle of a sentence.
        hidden_states: the dtype that these are rounded to.
        router: the dtype that its parameters are rounded to, and in which it computes.
        rounded_reference: float64 is given the rounded parameters and hidden states, so that the arithmetic alone
            differs; otherwise those from before, and storing counts too.
    """

    label: str
    definition: str
    hidden_states: torch.dtype
    router: torch.dtype
    rounded_reference: bool = False

    def as_dict(self) -> dict[str, str]:
        """The record in the JSON."""
        return {"label": self.label, "definition": self.definition}


_WHOLE = "against float64 of what there was before anything was rounded"
_ROUNDED = "against float64 of the same rounded values: what the arithmetic alone does"
PRECISIONS = {
    "bfloat16": Precision(
        "bfloat16",
        f"hidden states and router in bfloat16, {_WHOLE}",
        torch.bfloat16,
        torch.bfloat16,
    ),
    "bfloat16_arithmetic": Precision(
        "bfloat16, arithmetic",
        f"hidden states and router in bfloat16, {_ROUNDED}",
        torch.bfloat16,
        torch.bfloat16,
        rounded_reference=True,
    ),
    "mixed": Precision(
        "mixed",
        f"hidden states in bfloat16, the router in float32, {_WHOLE}",
        torch.bfloat16,
        torch.float32,
    ),
    "float32": Precision(
        "float32", "hidden states and router in float32, against float64: the control", torch.float32, torch.float32
    ),
}
"""All comparisons by name, in the order in which tables show them.

The arithmetic of `mixed` is float32's: the control says what it does.
"""


@dataclass(frozen=True, eq=False)
class Decision:
    """What was decided for the T tokens that count.

    Attributes:
        selected: (T, E) bool, whether a token has an expert; None where nothing is selected.
        weights: (T, E) float64, 0 where it has not; None where they are not known.
        margins: (T,) float64, the gap of the ranking (`rank_margins`); None where nothing is ranked.
        undefined: why one of those is None, or empty.
    """

    selected: Tensor | None
    weights: Tensor | None
    margins: Tensor | None = None
    undefined: str = ""

    @classmethod
    def concatenate(cls, decisions: Iterable[Decision]) -> Decision:
        """The tokens of several decisions of one kind one after the other, as those of a model's layers."""
        several = list(decisions)
        parts = {name: [getattr(each, name) for each in several] for name in ("selected", "weights", "margins")}
        joined = {name: None if any(p is None for p in part) else torch.cat(part) for name, part in parts.items()}
        return cls(**joined, undefined=several[0].undefined)


@singledispatch
def dense_decision(routing: Routing) -> Decision:
    """Selected experts and weights of a routing, (T, E) each, without the tokens that its mask leaves out.

    Of a kind that nobody has foreseen both are None; a package registers its own with `dense_decision.register`.
    """
    return Decision(None, None, undefined=f"a {type(routing).__name__} does not say which token has which expert")


@dense_decision.register
def _(routing: TokenChoice) -> Decision:
    experts, weights = routing.selected_experts, routing.routing_weights.double()
    kept = torch.ones_like(experts, dtype=torch.bool) if routing.kept is None else routing.kept
    selected = torch.zeros(len(experts), routing.num_experts, dtype=torch.int64, device=experts.device)
    selected = selected.scatter_add(1, experts, kept.long()).bool()
    dense = torch.zeros(selected.shape, dtype=torch.float64, device=experts.device)
    return _counted(routing, selected, dense.scatter_add(1, experts, weights.where(kept, 0.0)))


@dense_decision.register
def _(routing: ExpertChoice) -> Decision:
    tokens, weights = routing.chosen_tokens, routing.routing_weights.double()
    kept = torch.ones_like(tokens, dtype=torch.bool) if routing.kept is None else routing.kept
    selected = torch.zeros(routing.num_experts, routing.num_tokens, dtype=torch.int64, device=tokens.device)
    selected = selected.scatter_add(1, tokens, kept.long()).bool()
    dense = torch.zeros(selected.shape, dtype=torch.float64, device=tokens.device)
    dense = dense.scatter_add(1, tokens, weights.where(kept, 0.0))
    return _counted(routing, selected.t(), dense.t(), "experts choose tokens: no token ranks experts")


@dense_decision.register
def _(routing: SoftSlots) -> Decision:
    shares = torch.softmax(routing.slot_logits.double(), dim=1)
    of_experts = shares.view(len(shares), routing.num_experts, -1).sum(dim=-1)
    return _counted(routing, None, of_experts, "every expert works for every token: nothing is selected or ranked")


def _counted(routing: Routing, selected: Tensor | None, weights: Tensor, undefined: str = "") -> Decision:
    rows = slice(None) if routing.mask is None else routing.mask
    return Decision(None if selected is None else selected[rows], weights[rows], undefined=undefined)


def rank_margins(ranked: Tensor, selected: Tensor) -> Tensor:
    """The gap between the last that is selected and the first that is not, (T, E) and (T, E) bool -> (T,).

    With K experts for each token that is the gap between the K-th and the (K+1)-th ranked value, which rounding has to
    bridge before another expert is selected. NaN where a token has no expert, or all.
    """
    lowest = ranked.masked_fill(~selected, torch.inf).amin(dim=-1)
    highest = ranked.masked_fill(selected, -torch.inf).amax(dim=-1)
    some = selected.any(dim=-1) & ~selected.all(dim=-1)
    return (lowest - highest).masked_fill(~some, torch.nan)


def changed_tokens(found: Decision, reference: Decision) -> Tensor | None:
    """Share of tokens that have another set of experts, ()."""
    if found.selected is None or reference.selected is None:
        return None
    return (found.selected != reference.selected).any(dim=-1).double().mean()


def flip_rate(found: Decision, reference: Decision) -> Tensor | None:
    """Share of assignments that only one of the two has, ().

    With K experts for each token it is the share of the T·K assignments that went to another expert. Otherwise what
    either has and the other has not, over all that the two have: 1 where they have none in common.
    """
    if found.selected is None or reference.selected is None:
        return None
    assignments = found.selected.sum() + reference.selected.sum()
    return (found.selected != reference.selected).sum().double() / assignments.double()


def margin_quantile(share: float) -> Callable[[Decision, Decision], Tensor | None]:
    """A function that gives a quantile of the reference's rank margins, ()."""

    def quantile(_: Decision, reference: Decision) -> Tensor | None:
        if reference.margins is None:
            return None
        known = reference.margins[~reference.margins.isnan()]
        # A margin may be infinite (a masked expert stands behind): no value between two is made up.
        return torch.quantile(known, share, interpolation="lower") if len(known) else None

    return quantile


def weight_error(found: Decision, reference: Decision) -> Tensor | None:
    """The largest difference of a weight, over the tokens that have the same set of experts, (); None without any.

    Where the set is another, a weight is wrong by all that it is: those tokens are in `moved_weight`.
    """
    if found.selected is None or found.weights is None or reference.selected is None or reference.weights is None:
        return None
    same = (found.selected == reference.selected).all(dim=-1)
    return (found.weights - reference.weights)[same].abs().amax() if bool(same.any()) else None


def moved_weight(found: Decision, reference: Decision) -> Tensor | None:
    """Share of all weight that another expert has, or none, Σ|w − w'| / (Σ|w| + Σ|w'|) over all tokens and experts, ().

    Dense, an expert that a token has not has weight 0: it is defined whatever the sets are.
    """
    if found.weights is None or reference.weights is None:
        return None
    return (found.weights - reference.weights).abs().sum() / (found.weights.abs() + reference.weights.abs()).sum()


@dataclass(frozen=True)
class Quantity:
    """How two decisions differ in a number.

    Attributes:
        measure: (found, reference) -> a tensor of one number, or None where it is not defined.
        definition: in words, for the middle of a sentence.
    """

    measure: Callable[[Decision, Decision], Tensor | None]
    definition: str


QUANTITIES = {
    "changed_tokens": Quantity(changed_tokens, "share of tokens whose set of experts is another than float64's"),
    "flip_rate": Quantity(flip_rate, "share of assignments that went to another expert"),
    "rank_margin_median": Quantity(
        margin_quantile(0.5), "float64's gap between the last ranked value that is selected and the next, median"
    ),
    "rank_margin_p05": Quantity(margin_quantile(LOW_SHARE), "the same, 5 % quantile over the tokens"),
    "weight_error": Quantity(weight_error, "largest error of a weight where the set of experts is the same"),
    "moved_weight": Quantity(moved_weight, "share of all weight that lies on another expert, over all tokens"),
}
"""All quantities by name."""


def measure_change(found: Decision, reference: Decision) -> dict[str, float]:
    """Every quantity by name, NaN where it is not defined."""
    values = {name: quantity.measure(found, reference) for name, quantity in QUANTITIES.items()}
    return {name: torch.nan if value is None else float(value) for name, value in values.items()}


@torch.no_grad()
def decide(
    router: Router, hidden_states: Tensor, *, seed: int = 0, **side_inputs: Any
) -> dict[str, tuple[Decision, Decision]]:
    """The decisions of a router in every precision, and float64's.

    Args:
        router: in float32; it is not changed.
        hidden_states: (T, D) float32.
        seed: of torch's generator before each pass, of a router that draws from it: every precision has the same noise.
        **side_inputs: what `Router.forward` takes besides: token_ids, mask.

    Returns:
        name of `PRECISIONS` -> (found, reference).
    """
    decisions: dict[tuple[torch.dtype, ...], Decision] = {}

    def passed(*casts: torch.dtype) -> Decision:
        """Router and hidden states cast to (the router's, the hidden states') dtype, pair by pair."""
        if casts not in decisions:
            module, tokens = copy.deepcopy(router), hidden_states
            for router_dtype, hidden_dtype in zip(casts[::2], casts[1::2], strict=True):
                module, tokens = module.to(router_dtype), tokens.to(hidden_dtype)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                decisions[casts] = _decision(module, tokens, module(tokens, **side_inputs))
        return decisions[casts]

    exact = (torch.float64, torch.float64)
    found = {}
    for name, precision in PRECISIONS.items():
        rounded = (precision.router, precision.hidden_states)
        found[name] = passed(*rounded), passed(*(rounded if precision.rounded_reference else ()), *exact)
    return found


def _decision(router: Router, hidden_states: Tensor, routing: Routing) -> Decision:
    """A routing's decision with the margins of its ranking."""
    decision = dense_decision(routing)
    if decision.undefined or decision.selected is None:
        return decision
    if router.selects_by_itself:
        return replace(decision, undefined="it selects by itself: no rule ranks the experts")
    if decision.selected.all():
        return replace(decision, undefined="every expert is selected: none comes next")
    rule, ranked = router.selection, routing.ranked.double()
    if ranked.isinf().any():  # a definition that masks what it does not select; what was before says how near it came
        ranked = router.unmasked_logits(hidden_states).double()
    if rule.groups_left < rule.num_groups:  # among the groups that stay
        ranked = keep_best_groups(ranked, rule.num_groups, rule.groups_left, rule.group_score, rule.group_mask)
    rows = slice(None) if routing.mask is None else routing.mask
    return replace(decision, margins=rank_margins(ranked[rows], decision.selected))
