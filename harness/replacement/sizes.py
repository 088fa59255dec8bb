"""A Mixture-of-Experts block's sizes, read off whatever says them: its gate, its experts, the model's config.

Axes: D hidden size, E experts, K experts per token, I intermediate size, G groups of a quantised matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

SIZES: dict[str, tuple[str, ...]] = {
    "hidden_size": (
        "gate.hidden_dim",
        "gate.in_features",
        "gate.infeatures",
        "gate.weight.shape.1",
        "gate.g_idx.shape.0",
        "experts.hidden_dim",
        "experts.hidden_size",
        "experts.0.gate_proj.in_features",
        "experts.0.gate_proj.weight.shape.1",
        "experts.0.gate_proj.g_idx.shape.0",
        "config.hidden_size",
    ),
    "num_experts": (
        "gate.num_experts",
        "gate.out_features",
        "gate.outfeatures",
        "gate.weight.shape.0",
        "gate.scales.shape.1",
        "experts.num_experts",
        "experts.count",
        "config.num_experts",
        "config.num_local_experts",
        "config.n_routed_experts",
    ),
    "top_k": ("gate.top_k", "block.top_k", "config.num_experts_per_tok"),
}
"""Where each size is looked for, in order.

A fused gate has no features, a quantised one no float `weight` (E, D). Of GPTQ's packed buffers two still have sizes
of their own: g_idx (D), a group for each input, and scales (G, E).
"""
CROSS_CHECKED = ("hidden_size", "num_experts")
"""K is the gate's own affair: it may differ from the config's, and the gate is what routes."""


def read_sizes(
    name: str, places: Mapping[str, Any], own: Mapping[str, tuple[str, ...] | int] | None = None
) -> dict[str, int]:
    """Every size of `SIZES`.

    Args:
        name: the block's, for messages.
        places: "gate", "experts", "block" and "config".
        own: size -> where a family says it instead, or the number that it always is.

    Raises:
        ValueError: nothing says a size, or two places say different ones.
    """
    return {size: _read(name, size, places, (own or {}).get(size, paths)) for size, paths in SIZES.items()}


def _read(name: str, size: str, places: Mapping[str, Any], paths: tuple[str, ...] | int) -> int:
    if isinstance(paths, int):
        return paths
    said = {path: value for path in paths if (value := _follow(path, places)) is not None}
    if not said:
        raise ValueError(f"{name}: its {size} is said by none of {', '.join(paths)}")
    (path, value), *others = said.items()
    for other_path, other in others if size in CROSS_CHECKED else ():
        if other != value:
            raise ValueError(f"{name}: its {size} is {value} by {path}, but {other} by {other_path}")
    return value


def _follow(path: str, places: Mapping[str, Any]) -> int | None:
    first, *steps = path.split(".")
    value = places[first]
    for step in steps:
        value = _STEPS.get(step, _attribute_or_item)(value, step)
    return value if isinstance(value, int) else None


def _attribute_or_item(value: Any, step: str) -> Any:
    if not step.isdigit():
        return getattr(value, step, None)
    try:
        return value[int(step)]
    except (TypeError, IndexError, KeyError, NotImplementedError):
        return getattr(value, step, None)


def _float_matrix(value: Any, step: str) -> Tensor | None:
    """A weight whose shape is the matrix's; that of a packed one is not."""
    weight = getattr(value, step, None)
    weight = getattr(weight, "data", weight)
    return weight if isinstance(weight, Tensor) and weight.dim() == 2 and weight.is_floating_point() else None


def _numbered_children(value: Any, step: str) -> int | None:
    """The number of experts, where they are one module each."""
    return sum(child.isdigit() for child in value._modules) or None if isinstance(value, nn.Module) else None


_STEPS: dict[str, Callable[[Any, str], Any]] = {"weight": _float_matrix, "count": _numbered_children}
