"""The Mixture-of-Experts blocks of a language model, found by their attributes, and what their routers have to know.

Axes: D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from harness.replacement.families import FAMILIES, REFUSED, Family, family_of, folder_of
from harness.replacement.rule_reading import read_expert_scale, read_rule, read_selection_bias
from harness.replacement.sizes import read_sizes
from harness.replacement.unwrap import bare_model, with_values
from routers import SelectionRule

STOCK = "stock"
"""Stands for the model's own gates wherever a router is named; `routers.registry.RESERVED` keeps it free."""
EXPERTS = ("experts", "input_linear")
"""The names of what holds the experts; jetmoe, whose attention has experts too, says `input_linear`."""
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
        num_experts: E, of what the gate scores: experts that compute nothing count.
        top_k: K.
        family: whose block it is.
        rule: by which its own gate selects.
    """

    name: str
    module: nn.Module
    gate_name: str
    layer: int | None
    hidden_size: int
    num_experts: int
    top_k: int
    family: Family
    rule: SelectionRule

    @property
    def gate(self) -> nn.Module:
        """The gate that decides in this block now."""
        return self.module.get_submodule(self.gate_name)

    @property
    def experts_name(self) -> str:
        """The attribute that holds its experts."""
        return _name_of_experts(self.module)

    @property
    def experts(self) -> nn.Module:
        """Its experts."""
        return self.module.get_submodule(self.experts_name)

    @property
    def norm_topk_prob(self) -> bool:
        """Whether weights are divided by their sum."""
        return self.rule.norm_topk_prob

    @property
    def scaling(self) -> float:
        """What weights are multiplied by."""
        return self.rule.scale

    def selection_bias(self) -> Tensor | None:
        """A copy of the bias (E,) of the ranking; None where the rule has none."""
        return self._copy_of(read_selection_bias) if self.rule.has_bias else None

    def expert_scale(self) -> Tensor | None:
        """A copy of the learned factors (E,) of the experts; None where the rule has none."""
        return self._copy_of(read_expert_scale) if self.rule.expert_scale else None

    def _copy_of(self, read: Any) -> Tensor:
        places = {"gate": self.gate, "block": self.module}
        with ExitStack() as values:
            for module in (self.module, *self.gate.modules()):
                values.enter_context(with_values(module))
            found: Tensor = read(self.name, places, self.num_experts).clone()
        return found


def find_moe_blocks(model: nn.Module) -> list[MoEBlock]:
    """Every block with experts and a gate, in the model's order.

    Args:
        model: with a `config` that names its `model_type`, as transformers' models have, or what PEFT made of one. In a
            model of several parts (text, vision) the configuration of the part that a block is in counts.

    Raises:
        ValueError: no block, an unknown or refused family, a size that no attribute gives or two give differently, with
            the attributes looked for; or a selection rule that cannot be read.
    """
    model = bare_model(model)
    found = list(_with_experts(model))
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    for family in (family_of(model_type), folder_of(model)):
        _refuse(family, f"{type(model).__name__} ({model_type})")
    if not found:
        raise ValueError(
            f"{type(model).__name__} ({model_type}) has no Mixture-of-Experts block: no module has "
            f"{' or '.join(map(repr, EXPERTS))} and one of {', '.join(map(repr, GATES))}"
        )
    blocks = []
    for name, module, gate in found:
        config = _config_of(model, name)
        family = family_of(getattr(config, "model_type", None))
        _refuse(family, f"{name} ({family})")
        if family is None:
            raise ValueError(
                f"model_type {model_type!r} is unknown: {len(found)} modules have {EXPERTS[0]!r} and a gate, but by "
                f"which rule it selects is a line of FAMILIES; there are: {', '.join(sorted(FAMILIES))}"
            )
        left_alone = FAMILIES[family].left_alone
        if left_alone is None or not hasattr(getattr(module, gate), left_alone):
            blocks.append(_describe(name, module, gate, config, FAMILIES[family]))
    if not blocks:
        raise ValueError(f"{type(model).__name__} ({model_type}): none of its gates scores experts, all have tables")
    return blocks


def _refuse(family: str | None, what: str) -> None:
    if family in REFUSED:
        raise ValueError(f"{what}: its gates cannot be replaced: {REFUSED[family]}")


def _with_experts(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    for name, module in model.named_modules():
        if any(isinstance(getattr(module, experts, None), nn.Module) for experts in EXPERTS):
            gates = [gate for gate in GATES if isinstance(getattr(module, gate, None), nn.Module)]
            if gates:
                yield name, module, gates[0]


def _name_of_experts(module: nn.Module) -> str:
    return next(name for name in EXPERTS if isinstance(getattr(module, name, None), nn.Module))


def _config_of(model: nn.Module, name: str) -> Any:
    """The configuration that says a block's sizes: the model's, or that of the nearest part whose family is known."""
    steps = name.split(".")
    parts = [model, *(model.get_submodule(".".join(steps[:end])) for end in range(len(steps) - 1, 0, -1))]
    configs = [config for part in parts if (config := getattr(part, "config", None)) is not None]
    known = [config for config in configs if family_of(getattr(config, "model_type", None)) is not None]
    of_one_part = (config for config in known if not getattr(config, "sub_configs", None))
    return next(iter((*of_one_part, *known, *configs)), None)


def _describe(name: str, module: nn.Module, gate_name: str, config: Any, family: Family) -> MoEBlock:
    gate = getattr(module, gate_name)
    numbers = re.findall(family.layer, name)
    layer = int(numbers[-1]) if numbers else None
    if (rule := getattr(gate, "replaced_rule", None)) is not None:  # a gate of ours
        sizes = {"hidden_size": gate.hidden_dim, "num_experts": gate.num_experts, "top_k": gate.top_k}
        return MoEBlock(name, module, gate_name, layer, family=family, rule=rule, **sizes)
    places = {"gate": gate, "experts": getattr(module, _name_of_experts(module)), "block": module, "config": config}
    sizes = read_sizes(name, places, family.sizes)
    rule = read_rule(name, family, places)
    try:
        rule.check_sizes(sizes["num_experts"], sizes["top_k"])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if not hasattr(gate, "top_k"):
        gate.top_k = sizes["top_k"]  # dbrx's block alone knows it, and who hears the gate has to
    return MoEBlock(name, module, gate_name, layer, family=family, rule=rule, **sizes)
