"""Copies of a language model that share its weights, each with routers of its own.

Axes: E experts, K experts per token.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from torch import nn

from harness.replacement.injection import Replacement, replace_routers
from harness.replacement.moe_blocks import STOCK, find_moe_blocks

TWIN = "stock@again"
"""Those a second time, in a copy of the model of their own."""

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def make_shared_copy(model: AnyModule) -> AnyModule:
    """A model with modules of its own and the same parameters and buffers, in the same memory."""
    shared = {id(tensor): tensor for tensors in (model.parameters(), model.buffers()) for tensor in tensors}
    return copy.deepcopy(model, shared)


class OwnGates:
    """Copies of a model's own gates in their places: the stock counterpart of `Replacement`.

    Copies, because the model's own lie beside its other weights, and a replacement's in memory that was just allocated;
    and because a step that trains them would train those of all copies.

    Args:
        model: any that `find_moe_blocks` knows.
    """

    def __init__(self, model: nn.Module) -> None:
        self._replaced = [(block, block.gate) for block in find_moe_blocks(model)]
        copies = {id(gate): gate for _, gate in self._replaced}
        copies = {key: copy.deepcopy(gate).requires_grad_() for key, gate in copies.items()}
        self.routers = {block.name: copies[id(gate)] for block, gate in self._replaced}
        for block, _ in self._replaced:
            setattr(block.module, block.gate_name, self.routers[block.name])

    def restore(self) -> None:
        """Put the very same gates back."""
        for block, gate in self._replaced:
            setattr(block.module, block.gate_name, gate)


Install = Callable[[nn.Module], OwnGates | Replacement]
"""Puts routers into a model, until their `restore`."""


def install_routers(name: str) -> Install:
    """How routers of a name are put into a model."""
    return OwnGates if name in (STOCK, TWIN) else partial(replace_routers, router=name, initialise="random")
