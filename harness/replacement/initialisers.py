"""The ways in which a new router begins, by name.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from harness.replacement.calibration import Calibration
from harness.replacement.distillation import Fit, distil_router
from harness.replacement.router_gate import GateSwap, copy_linear

Initialiser = Callable[[nn.Module, Sequence[GateSwap], Calibration | None], list[Fit]]
"""(model, swaps, calibration) -> the fits, where something was fitted."""


def leave_random(_model: nn.Module, _swaps: Sequence[GateSwap], calibration: Calibration | None) -> list[Fit]:
    """Leave every router as it was drawn."""
    _refuse_calibration(calibration)
    return []


def copy_originals(_model: nn.Module, swaps: Sequence[GateSwap], calibration: Calibration | None) -> list[Fit]:
    """Copy the original gates' weights, which a linear router alone can take."""
    _refuse_calibration(calibration)
    for each in swaps:
        copy_linear(each.gate, each.original)
    return []


def distil_originals(model: nn.Module, swaps: Sequence[GateSwap], calibration: Calibration | None) -> list[Fit]:
    """Fit routers, layer by layer, to what the original gates decide while the model reads the calibration text."""
    if calibration is None:
        raise ValueError("a distilled start needs calibration=, the token ids of some lines of text")
    lessons = calibration.lessons(model, {each.block.name: each.original for each in swaps})
    return [
        distil_router(each.gate.router, lesson.hidden_states, lesson.logits, lesson.experts)
        for each, lesson in zip(swaps, lessons, strict=True)
    ]


INITIALISERS: dict[str, Initialiser] = {
    "random": leave_random,
    "original": copy_originals,
    "distilled": distil_originals,
}


def _refuse_calibration(calibration: Calibration | None) -> None:
    if calibration is not None:
        raise ValueError("calibration= is for initialise='distilled' alone")
