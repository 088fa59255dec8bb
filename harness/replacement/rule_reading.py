"""The selection rule of a block, read from its gate, the block and the model's configuration.

Axes: E experts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from harness.replacement.families import Family
from routers import SelectionRule, get_selection_rule, list_selection_rules

FIELDS: dict[str, tuple[str, ...]] = {
    "norm_topk_prob": ("gate.norm_topk_prob",),
    "num_groups": ("gate.num_group",),
    "groups_kept": ("gate.topk_group",),
    "scale": ("gate.routed_scaling_factor", "gate.router_scaling_factor", "gate.route_scale"),
    "soft_cap": ("gate.router_logit_softcapping",),
    "epsilon": ("gate.norm_topk_prob_eps",),
    "least_sum": ("gate.norm_min",),
}
"""Field of the rule -> where a gate says it, whatever its family; the family's rule holds where it does not.

A block's own scale, which it multiplies with after the experts, is not the gate's, and stays the block's.
"""
SELECTION_BIAS = (
    "gate.e_score_correction_bias",
    "block.e_score_correction_bias",
    "block.expert_bias",
    "gate.moe_statics.e_score_correction_bias",
    "gate.balancing_biases",
)
"""Where the bias of the ranking is."""
EXPERT_SCALE = ("gate.per_expert_scale",)
"""Where the learned factors of the experts are."""
_READ: dict[str, Callable[[Any], Any]] = {"soft_cap": lambda cap: cap or None}
"""What a value stands for, where it is not the field's: a soft cap of 0 is none."""
_MISSING = object()


def read_rule(name: str, family: Family, places: Mapping[str, Any]) -> SelectionRule:
    """The rule by which a block's gate selects.

    Args:
        name: the block's, for messages.
        family: whose block it is.
        places: "gate", "block" and "config".

    Raises:
        ValueError: a value that stands for no rule of the family's, or fields that contradict each other.
    """
    values = {field: _first(paths, places) for field, paths in FIELDS.items()}
    found = {field: _READ.get(field, _itself)(value) for field, value in values.items() if value is not None}
    found |= family.fields
    for path, meanings in family.choices.items():
        value = follow(path, places)
        if value is _MISSING:
            continue
        if value not in meanings:
            known = ", ".join(map(repr, meanings))
            raise ValueError(f"{name}: its {path} is {value!r}, expected one of: {known}")
        found |= meanings[value]
    try:
        return get_selection_rule(family.rule, **found)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def read_selection_bias(name: str, places: Mapping[str, Any], num_experts: int) -> Tensor:
    """The bias (E,) of the ranking.

    Raises:
        ValueError: there is none, or not one value for each expert.
    """
    return _per_expert(name, "selection bias", SELECTION_BIAS, places, num_experts)


def read_expert_scale(name: str, places: Mapping[str, Any], num_experts: int) -> Tensor:
    """The learned factors (E,).

    Raises:
        ValueError: there are none, or not one value for each expert.
    """
    return _per_expert(name, "factor per expert", EXPERT_SCALE, places, num_experts)


def describe_rule(rule: SelectionRule, name: str | None = None) -> str:
    """A rule as the catalogue's of a name, of the nearest unless given, and the fields in which it differs."""

    def different(known: str) -> list[str]:
        other = get_selection_rule(known)
        names = [each.name for each in fields(rule) if each.compare]
        return [f"{each}={getattr(rule, each)!r}" for each in names if getattr(rule, each) != getattr(other, each)]

    name = name or min(list_selection_rules(), key=lambda known: (len(different(known)), known != "softmax"))
    others = different(name)
    return f"{name} ({', '.join(others)})" if others else name


def follow(path: str, places: Mapping[str, Any]) -> Any:
    """The value at the end of a path such as "gate.topk_group", or a mark that there is none."""
    first, *steps = path.split(".")
    value = places[first]
    for step in steps:
        value = getattr(value, step, _MISSING)
    return value


def _first(paths: tuple[str, ...], places: Mapping[str, Any]) -> Any:
    return next((value for value in said(paths, places)), None)


def said(paths: tuple[str, ...], places: Mapping[str, Any]) -> Iterator[Any]:
    """The values that are said, in the order of the paths; None says nothing."""
    for path in paths:
        if (value := follow(path, places)) is not _MISSING and value is not None:
            yield value


def _per_expert(name: str, what: str, paths: tuple[str, ...], places: Mapping[str, Any], num_experts: int) -> Tensor:
    found = _first(paths, places)
    if not isinstance(found, Tensor):
        raise ValueError(f"{name}: its {what} is said by none of {', '.join(paths)}")
    if found.numel() != num_experts:
        raise ValueError(f"{name}: its {what} has shape {tuple(found.shape)}, expected ({num_experts},)")
    return found.detach().flatten()


def _itself(value: Any) -> Any:
    return value
