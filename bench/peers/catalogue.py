"""All works by name. Axes: D hidden size, I intermediate size, E experts, K experts per token."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.peers.gates import KINDS, Gates
from bench.peers.layers import Layers
from bench.peers.work import Sizes, Work

LAYERS = {
    "layer-small": Sizes(768, 3072, 8, 2),
    "layer-large": Sizes(2048, 1408, 60, 4),
    "layer-tiny": Sizes(64, 96, 8, 2),  # to see that everything works
}
WORKS: dict[str, Callable[[str], Work]] = {
    **{f"gate-{rule}": partial(Gates, rule) for rule in KINDS},
    **{name: partial(Layers, sizes) for name, sizes in LAYERS.items()},
}
"""What makes a work on a device, by its name at the command line."""


def get_work(name: str, device: str = "cpu") -> Work:
    """The work of that name, with its weights on a device.

    Raises:
        ValueError: an unknown name; the message lists those that exist.
    """
    if name not in WORKS:
        raise ValueError(f"unknown work {name!r}; there are: {', '.join(WORKS)}")
    return WORKS[name](device)
