"""The ways in which a new router begins, by name.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from harness.replacement.calibration import Calibration, Lesson
from harness.replacement.distillation import Fit, distil_router
from harness.replacement.router_gate import GateSwap, copy_linear

Initialiser = Callable[[nn.Module, Sequence[GateSwap], Calibration | None], dict[str, Fit]]
"""(model, swaps, calibration) -> path of the block -> the fit, where something was fitted."""


def leave_random(_model: nn.Module, _swaps: Sequence[GateSwap], calibration: Calibration | None) -> dict[str, Fit]:
    """Leave every router as it was drawn."""
    _refuse_calibration(calibration)
    return {}


def copy_originals(_model: nn.Module, swaps: Sequence[GateSwap], calibration: Calibration | None) -> dict[str, Fit]:
    """Copy the original gates' weights, which a linear router alone can take."""
    _refuse_calibration(calibration)
    for each in swaps:
        if not each.block.family.form.original_is_linear:
            raise ValueError(f"{each.block.name}: {type(each.original).__name__} is no linear map that could be copied")
        copy_linear(each)
    return {}


def distil_originals(model: nn.Module, swaps: Sequence[GateSwap], calibration: Calibration | None) -> dict[str, Fit]:
    """Fit routers, layer by layer, to what the original gates decide while the model reads the calibration text.

    A gate that no text reaches, as those of experts for images, is left as it was drawn.
    """
    if calibration is None:
        raise ValueError("a distilled start needs calibration=, the token ids of some lines of text")
    lessons = calibration.lessons(model, {each.block.name: each.original for each in swaps})
    return {each.block.name: _fit(each, lesson) for each, lesson in zip(swaps, lessons, strict=True) if lesson}


def _fit(swap: GateSwap, lesson: Lesson) -> Fit:
    with torch.no_grad():
        seen = swap.gate.form.prepare(lesson.hidden_states)
    return distil_router(
        swap.router, seen, lesson.logits, lesson.experts, rule=swap.block.rule, bias=swap.block.selection_bias()
    )


INITIALISERS: dict[str, Initialiser] = {
    "random": leave_random,
    "original": copy_originals,
    "distilled": distil_originals,
}


def _refuse_calibration(calibration: Calibration | None) -> None:
    if calibration is not None:
        raise ValueError("calibration= is for initialise='distilled' alone")
