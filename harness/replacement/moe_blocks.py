"""The Mixture-of-Experts blocks of a language model, found by their attributes, and what their routers have to know.

Axes: D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from harness.replacement.families import FAMILIES, Family
from harness.replacement.sizes import read_sizes
from harness.replacement.unwrap import bare_model

STOCK = "stock"
"""Stands for the model's own gates wherever a router is named; `routers.registry.RESERVED` keeps it free."""
EXPERTS = "experts"
GATES = ("gate", "router")
"""The names of the gate module in the families; gpt-oss says `router`."""


@dataclass(frozen=True, eq=False)
class MoEBlock:
    """A block and what it says of itself.

    Attributes:
        name: its path in the model.
        module: the block.
        gate_name: the attribute that holds its gate.
        layer: the number in its path, or None.
        hidden_size: D.
        num_experts: E.
        top_k: K.
        norm_topk_prob: whether weights sum to one.
        scaling: what weights are multiplied by.
    """

    name: str
    module: nn.Module
    gate_name: str
    layer: int | None
    hidden_size: int
    num_experts: int
    top_k: int
    norm_topk_prob: bool
    scaling: float

    @property
    def gate(self) -> nn.Module:
        """The gate that decides in this block now."""
        return self.module.get_submodule(self.gate_name)


def find_moe_blocks(model: nn.Module) -> list[MoEBlock]:
    """Every block with experts and a gate, in the model's order.

    Args:
        model: with a `config` that names its `model_type`, as transformers' models have, or what PEFT made of one.

    Raises:
        ValueError: no block, an unknown family, or a size that no attribute gives or two give differently; with the
            attributes looked for.
    """
    model = bare_model(model)
    found = list(_with_experts(model))
    config = getattr(model, "config", None)
    model_type = getattr(config, "model_type", None)
    if not found:
        raise ValueError(
            f"{type(model).__name__} ({model_type}) has no Mixture-of-Experts block: no module has {EXPERTS!r} "
            f"and one of {', '.join(map(repr, GATES))}"
        )
    if model_type not in FAMILIES:
        raise ValueError(
            f"model_type {model_type!r} is unknown: {len(found)} modules have {EXPERTS!r} and a gate, but how its gate "
            f"makes weights of scores is a line of FAMILIES; there are: {', '.join(sorted(FAMILIES))}"
        )
    return [_describe(name, module, gate, config, FAMILIES[model_type]) for name, module, gate in found]


def _with_experts(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    for name, module in model.named_modules():
        if isinstance(getattr(module, EXPERTS, None), nn.Module):
            gates = [gate for gate in GATES if isinstance(getattr(module, gate, None), nn.Module)]
            if gates:
                yield name, module, gates[0]


def _describe(name: str, module: nn.Module, gate_name: str, config: Any, family: Family) -> MoEBlock:
    gate = getattr(module, gate_name)
    places = {"gate": gate, "experts": getattr(module, EXPERTS), "block": module, "config": config}
    sizes = read_sizes(name, places)
    norm_topk_prob = family.norm_topk_prob
    if norm_topk_prob is None:
        norm_topk_prob = bool(getattr(gate, "norm_topk_prob", getattr(config, "norm_topk_prob", False)))
    scaling = float(getattr(gate, family.scaling, 1.0)) if family.scaling else 1.0
    numbers = re.findall(r"(?:^|\.)(\d+)(?=\.|$)", name)
    layer = int(numbers[-1]) if numbers else None
    return MoEBlock(name, module, gate_name, layer, norm_topk_prob=norm_topk_prob, scaling=scaling, **sizes)
