"""A base model is known again in another dtype and inside LoRA, and another one is refused, in every family."""

from __future__ import annotations

import json
import re
from typing import Any

import peft
import pytest
import torch

from harness.replacement.moe_blocks import find_moe_blocks
from harness.saving.base_model import ATTENTION, base_model_differences, base_model_digest
from tests.harness.tiny_models import OWN_SIZES, tiny_model


def make_model(family: str) -> Any:
    """Three layers; where a family can begin with dense layers, the first has no experts."""
    return tiny_model(family, num_hidden_layers=3, first_k_dense_replace=1)


@pytest.fixture(scope="module", params=sorted(OWN_SIZES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(family: str) -> Any:
    return make_model(family)


def differences(saved: Any, present: Any) -> list[str]:
    return base_model_differences(json.loads(json.dumps(base_model_digest(saved))), base_model_digest(present))


def test_attention_of_the_first_and_last_block_is_in_it(model: Any) -> None:
    first = find_moe_blocks(model)[0].layer
    sampled = [place for place in base_model_digest(model)["sample"] if place.endswith(ATTENTION)]
    assert sampled == [f"model.layers.{first}.{ATTENTION}", f"model.layers.2.{ATTENTION}"]


def test_another_attention_is_another_base_model(family: str, model: Any) -> None:
    other = make_model(family)
    with torch.no_grad():
        for parameter in other.model.layers[2].self_attn.parameters():
            parameter.neg_()
    assert differences(model, other) == [f"model.layers.2.{ATTENTION}: other weights"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_is_known_again_in_another_dtype(family: str, model: Any, dtype: torch.dtype) -> None:
    assert differences(model, make_model(family).to(dtype)) == []


@pytest.mark.parametrize("lora", [{"target_modules": ["o_proj"]}, {"target_modules": r".*self_attn.*_proj.*"}])
def test_lora_on_attention_is_seen_through(family: str, model: Any, lora: dict[str, Any]) -> None:
    adapted = peft.get_peft_model(make_model(family), peft.LoraConfig(init_lora_weights=False, **lora))
    assert differences(model, adapted) == []
    assert differences(adapted, model) == []


def test_a_base_model_without_values_has_places_and_shapes(family: str, model: Any) -> None:
    with torch.device("meta"):
        bare = make_model(family)
    found = base_model_digest(bare)["sample"]
    assert [sample["shape"] for sample in found.values()] == [
        s["shape"] for s in base_model_digest(model)["sample"].values()
    ]
    assert differences(model, bare) == [f"{place}: on the meta device, without weights" for place in found]


def test_of_a_quantised_projection_its_integers_are_taken(model: Any) -> None:
    class Packed(torch.nn.Module):
        def __init__(self, rows: int) -> None:
            super().__init__()
            self.register_buffer("qweight", torch.arange(rows * 32, dtype=torch.int32).reshape(rows, 32))
            self.register_buffer("g_idx", torch.zeros(32, dtype=torch.int32))

    model.model.layers[2].self_attn = torch.nn.ModuleDict({"q_proj": Packed(8), "o_proj": Packed(4)})
    saved = base_model_digest(model)
    sample = saved["sample"][f"model.layers.2.{ATTENTION}"]
    assert sample["shape"] == [8, 32]
    assert all(type(value) is int for value in sample["values"])
    model.model.layers[2].self_attn["q_proj"].qweight += 1
    assert base_model_differences(saved, base_model_digest(model)) == [f"model.layers.2.{ATTENTION}: other weights"]


def deep(**changes: Any) -> Any:
    return tiny_model("qwen3_moe", num_hidden_layers=6, **changes)


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (
            r"layers\.[1-4]\.|lm_head",
            "model.layers.1.self_attn.q_proj.weight: other weights; .*; and 3[0-9] more tensors",
        ),
        (r"down_proj", "model.layers.0.mlp.experts.down_proj: other weights"),
        (r"o_proj", "model.layers.0.self_attn.o_proj.weight: other weights"),
        (r"norm", "model.layers.0.self_attn.q_norm.weight: other weights"),
        (r"lm_head", "lm_head.weight: other weights$"),
        (r"layers\.3\.post_attention_layernorm", "model.layers.3.post_attention_layernorm.weight: other weights$"),
    ],
)
def test_a_model_that_differs_anywhere_is_another_one(harm: str, named: str) -> None:
    saved, other = deep(), deep()
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if re.search(harm, name) and ".gate." not in name:
                parameter.zero_()
    assert re.match(named, "; ".join(differences(saved, other)))
    assert differences(saved, deep()) == []


def test_its_gates_may_be_others(family: str, model: Any) -> None:
    other = make_model(family)
    with torch.no_grad():
        for block in find_moe_blocks(other):
            for parameter in block.gate.parameters():
                parameter.normal_()
    assert differences(model, other) == []


def test_a_digest_of_an_earlier_version_is_compared_where_it_says_something(model: Any, family: str) -> None:
    saved = base_model_digest(model)
    del saved["tensors"]
    other = make_model(family)
    other.lm_head.weight.data.zero_()
    assert base_model_differences(saved, base_model_digest(other)) == []
    other.model.embed_tokens.weight.data.zero_()
    assert base_model_differences(saved, base_model_digest(other)) == ["input embeddings: other weights"]
