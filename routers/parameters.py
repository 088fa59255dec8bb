"""The number of a module's parameters."""

from __future__ import annotations

from torch import nn


def count_parameters(module: nn.Module, *, trainable: bool = False) -> int:
    """The number of scalar parameters of a module; a parameter that several submodules share counts once.

    Args:
        module: a router, a layer or a whole model.
        trainable: count only the parameters that require a gradient.
    """
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad or not trainable)
