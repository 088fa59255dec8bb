"""The parameters of routers: how they are drawn, and how many a module has."""

from __future__ import annotations

import torch
from torch import nn

INITIAL_STD = 0.02


def count_parameters(module: nn.Module, *, trainable: bool = False) -> int:
    """The number of scalar parameters of a module; a parameter that several submodules share counts once.

    Args:
        module: a router, a layer or a whole model.
        trainable: count only the parameters that require a gradient.
    """
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad or not trainable)


def normal_parameter(*shape: int) -> nn.Parameter:
    """A parameter drawn from N(0, 0.02²), BERT's and the paper's initialisation."""
    return nn.Parameter(torch.randn(*shape) * INITIAL_STD)


def normal_linear(in_features: int, out_features: int, *, bias: bool) -> nn.Linear:
    """A linear map with weights from N(0, 0.02²) and a zero bias."""
    linear = nn.Linear(in_features, out_features, bias=bias)
    nn.init.normal_(linear.weight, std=INITIAL_STD)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
