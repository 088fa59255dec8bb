"""What the fields of a selection rule may be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from routers.selection.steps import COUNTS, GROUP_MASKS, GROUP_SCORES, PRECISIONS, RANKINGS, SCORE_FUNCTIONS, WEIGHTS

if TYPE_CHECKING:
    from routers.selection.rule import SelectionRule

_CHOICES: dict[str, dict[str, Any]] = {
    "score_function": SCORE_FUNCTIONS,
    "ranked_by": RANKINGS,
    "group_score": GROUP_SCORES,
    "group_mask": GROUP_MASKS,
    "how_many": COUNTS,
    "weighed_by": WEIGHTS,
    "precision": PRECISIONS,
}

_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "str": (lambda value: isinstance(value, str), "the name of a step"),
    "bool": (lambda value: isinstance(value, bool), "True or False"),
    "int": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    "float": (lambda value: isinstance(value, (int, float)) and not isinstance(value, bool), "a number"),
}
"""The kind of a field, as it is annotated -> whether a value is of it, and what to say where it is not."""


def check_fields(rule: SelectionRule) -> None:
    """Refuse a step that there is not, and a number that cannot be.

    Raises:
        ValueError: names the field, its value and what was expected.
    """
    _check_kinds(rule)
    for name, known in _CHOICES.items():
        if (value := getattr(rule, name)) not in known:
            raise ValueError(f"{name} is {value!r}, expected one of: {', '.join(known)}")
    for name, least in (("num_groups", 1), ("groups_kept", 1)):
        if (number := getattr(rule, name)) is not None and number < least:
            raise ValueError(f"{name} is {number}, expected at least {least}")
    if rule.groups_kept is not None and rule.groups_kept > rule.num_groups:
        raise ValueError(f"groups_kept is {rule.groups_kept}, expected at most num_groups = {rule.num_groups}")
    if rule.soft_cap is not None and not 0 < rule.soft_cap < math.inf:
        raise ValueError(f"soft_cap is {rule.soft_cap}, expected a finite number above 0")
    if complaint := COUNTS[rule.how_many].complaint(rule.limit):
        raise ValueError(f"limit is {rule.limit}, {complaint} with how_many = {rule.how_many!r}")
    for name in ("epsilon", "least_sum"):
        if not 0 <= getattr(rule, name) < math.inf:
            raise ValueError(f"{name} is {getattr(rule, name)}, expected a finite number of at least 0")
    if not math.isfinite(rule.scale):
        raise ValueError(f"scale is {rule.scale}, expected a finite number")


def _check_kinds(rule: SelectionRule) -> None:
    # A string is true, and a float that is whole reaches torch: neither is refused where it is used.
    for each in fields(rule):
        kind = str(each.type).removesuffix(" | None")
        value = getattr(rule, each.name) if each.init else None
        if value is None and (not each.init or str(each.type).endswith("None")):
            continue
        is_right, expected = _KINDS[kind]
        if not is_right(value):
            raise ValueError(f"{each.name} is {value!r}, expected {expected}")
