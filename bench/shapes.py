"""Shapes of Mixture-of-Experts models that ship: sizes and selection rule by name.

Axes: D hidden size, E experts, K experts per token, I intermediate size of one expert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Shape:
    """One model's Mixture-of-Experts layer.

    Attributes:
        name: as `--shape` takes it.
        hidden_size: D.
        num_experts: E, of what the router chooses from; LongCat's identity experts are among them.
        top_k: K.
        intermediate_size: I of one expert.
        selection: the name of its selection rule.
        source: where the numbers are from: the default configuration of a folder of transformers' models, or in words.
        rule_fields: values of the rule's fields that the model sets, where the catalogue's are others.
    """

    name: str
    hidden_size: int
    num_experts: int
    top_k: int
    intermediate_size: int
    selection: str
    source: str
    rule_fields: Mapping[str, Any] = field(default_factory=dict)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("mixtral", 4096, 8, 2, 14336, "softmax", "mixtral"),
        Shape("qwen1.5-moe", 2048, 60, 4, 1408, "qwen2_moe", "qwen2_moe"),
        Shape("olmoe", 2048, 64, 8, 1024, "olmoe", "OLMoE-1B-7B's configuration"),
        Shape("qwen3-30b-a3b", 2048, 128, 8, 768, "qwen3_moe", "qwen3_moe"),
        Shape("gpt-oss", 2880, 128, 4, 2880, "gpt_oss", "gpt_oss"),
        Shape("deepseek-v3", 7168, 256, 8, 2048, "deepseek_v3", "deepseek_v3"),
        Shape("qwen3-next", 2048, 512, 10, 512, "softmax", "qwen3_next"),
        Shape("deepseek-v4", 4096, 256, 6, 2048, "deepseek_v4", "deepseek_v4"),
        Shape("longcat", 6144, 768, 12, 2048, "longcat_flash", "longcat_flash"),
        Shape("kimi-k3", 7168, 896, 16, 2048, "kimi_linear", "as reported; I is assumed"),
    )
}
"""By name."""


def get_shape(name: str) -> Shape:
    """The shape of that name; a ValueError lists those that exist."""
    if name not in SHAPES:
        raise ValueError(f"unknown shape {name!r}; there are: {', '.join(SHAPES)}")
    return SHAPES[name]


def shapes_table() -> list[str]:
    """What `--shape list` prints: a line a shape, under a heading."""
    lines = [f"{'shape':<14} {'D':>6} {'E':>4} {'K':>3} {'I':>6}  selection rule, numbers from"]
    for shape in SHAPES.values():
        fields = "".join(f", {name}={value}" for name, value in shape.rule_fields.items())
        sizes = f"{shape.hidden_size:>6} {shape.num_experts:>4} {shape.top_k:>3} {shape.intermediate_size:>6}"
        lines.append(f"{shape.name:<14} {sizes}  {shape.selection}{fields}; {shape.source}")
    return lines
