"""Whether a routing may look at its own numbers. Axes: T tokens, K slots per token."""

from __future__ import annotations

import torch
from torch import Tensor


def shapes_are_fixed(tensor: Tensor) -> bool:
    """Shapes must not follow from numbers: in a graph, which is traced without them, and where the host would wait.

    On a GPU the rows of slots that are not kept are computed, as zeros: to leave them out the host would have to wait
    for their number.
    """
    return torch.compiler.is_compiling() or tensor.device.type == "cuda"
