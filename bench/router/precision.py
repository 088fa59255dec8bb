"""What a precision does to a router's decisions, over seeds: the JSON's `behaviour.precision`.

Axes: T tokens, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from bench.timing.intervals import summarise
from routers import Router
from routers.precision_metrics import PRECISIONS, Decision, decide, measure_change

Decisions = dict[str, tuple[Decision, Decision]]
"""Name of a precision -> (found, reference)."""
Changes = dict[str, dict[str, float]]
"""Name of a precision -> quantity -> number."""

LONGEST_REASON = 200
"""Of what a failure says, in characters."""


def observe_precision(router: Router, hidden_states: Tensor, seed: int) -> dict[str, Any]:
    """One router on one batch in every precision.

    Args:
        router: in float32.
        hidden_states: (T, D).
        seed: of its noise, if it draws any.

    Returns:
        `undefined`, why some of it or all does not exist, and the `compared` changes, JSON values but for NaN.
    """
    try:
        decisions = decide(router, hidden_states, seed=seed)
    except Exception as error:  # what a router cannot do in another precision is no reason not to measure it
        return failed(error)
    return {"undefined": why_undefined(decisions), "compared": changes_of(decisions)}


def failed(error: Exception) -> dict[str, Any]:
    """What is said of a router that raises in a precision."""
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    return {"undefined": f"it fails in another precision ({said[:LONGEST_REASON]})", "compared": {}}


def why_undefined(decisions: Decisions) -> str:
    """The reason of the first decision that has one, or empty."""
    return next((each.undefined for both in decisions.values() for each in both if each.undefined), "")


def changes_of(decisions: Decisions) -> Changes:
    """Every quantity of every precision."""
    return {name: measure_change(*both) for name, both in decisions.items()}


def combine_precision(observed: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The observations of several seeds as the JSON has them; None where nothing was observed."""
    if not all(observed):
        return None
    reason = next((each["undefined"] for each in observed if each["undefined"]), None)
    return {"undefined": reason, "compared": stats_of([each["compared"] for each in observed])}


def stats_of(changes: Sequence[Changes]) -> dict[str, dict[str, Any]]:
    """A stat over the seeds of every quantity; nothing where a seed has none."""
    if not all(changes):
        return {}
    return {
        name: {quantity: summarise([of_seed[name][quantity] for of_seed in changes]) for quantity in quantities}
        for name, quantities in changes[0].items()
    }


def records() -> dict[str, Any]:
    """The JSON's `study.precisions`: what was compared with what."""
    return {"precisions": {name: precision.as_dict() for name, precision in PRECISIONS.items()}}
