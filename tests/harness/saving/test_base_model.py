"""A base model is known again in another dtype and inside LoRA, and another one is refused, in every family."""

from __future__ import annotations

import json
from typing import Any

import peft
import pytest
import torch
import transformers

from harness.replacement.moe_blocks import FAMILIES
from harness.saving.base_model import ATTENTION, base_model_differences, base_model_digest

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "moe_intermediate_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "num_experts_per_tok": 2,
    "pad_token_id": 0,
}
# The sizes of attention are DeepSeek-V3's own; its first layer has no experts.
OWN: dict[str, dict[str, Any]] = {
    "qwen2_moe": {"num_experts": 4, "shared_expert_intermediate_size": 24},
    "qwen3_moe": {"num_experts": 4},
    "mixtral": {"num_local_experts": 4},
    "olmoe": {"num_experts": 4},
    "gpt_oss": {"num_local_experts": 4},
    "deepseek_v3": {
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    },
}


def make_model(family: str) -> Any:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **(SIZES | OWN[family]))
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(family: str) -> Any:
    return make_model(family)


def differences(saved: Any, present: Any) -> list[str]:
    return base_model_differences(json.loads(json.dumps(base_model_digest(saved))), base_model_digest(present))


def test_attention_of_the_first_and_last_block_is_in_it(family: str, model: Any) -> None:
    first = 1 if family == "deepseek_v3" else 0
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


def test_a_body_without_values_has_places_and_shapes(family: str, model: Any) -> None:
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
