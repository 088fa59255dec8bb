from __future__ import annotations

from typing import Any

import pytest
from transformers import CONFIG_MAPPING

from bench.shapes import SHAPES, Shape, get_shape, shapes_table
from routers.selection import get_selection_rule

NAMES = {
    "num_experts": ("num_experts", "n_routed_experts"),
    "top_k": ("moe_topk", "num_experts_per_tok"),
    "intermediate_size": ("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size"),
    "hidden_size": ("hidden_size",),
}
OF_TRANSFORMERS = [shape for shape in SHAPES.values() if shape.source in CONFIG_MAPPING]


@pytest.mark.parametrize("shape", OF_TRANSFORMERS, ids=lambda shape: shape.name)
def test_a_shape_is_the_default_configuration_of_its_folder(shape: Shape) -> None:
    config: Any = CONFIG_MAPPING[shape.source]()
    for size, names in NAMES.items():
        found = next(getattr(config, name) for name in names if hasattr(config, name))
        if size == "num_experts":
            found += getattr(config, "zero_expert_num", 0)
        assert getattr(shape, size) == found


def test_most_shapes_are_such() -> None:
    assert len(OF_TRANSFORMERS) == 8


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_its_rule_suits_its_sizes(shape: Shape) -> None:
    get_selection_rule(shape.selection, **shape.rule_fields).check_sizes(shape.num_experts, shape.top_k)


def test_the_table_has_a_line_a_shape() -> None:
    assert [line.split()[0] for line in shapes_table()[1:]] == list(SHAPES)


def test_an_unknown_shape_lists_those_that_exist() -> None:
    with pytest.raises(ValueError, match=r"unknown shape 'gpt5'; there are: mixtral, .*kimi-k3"):
        get_shape("gpt5")
