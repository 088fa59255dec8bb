"""A checkpoint laid out as Qwen1.5-MoE-A2.7B-Chat-GPTQ-Int4 is, packed here by hand.

Axes: I input features, O output features, G = I / 128 groups.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from torch import Tensor

from harness.assets.errors import AssetError
from harness.language_models.gptq.load import load_quantised
from harness.replacement.injection import replace_routers

GROUP, BITS, ZERO = 128, 4, 8
LAYERS, EXPERTS = 2, 6
IDS = torch.tensor([[5, 9, 3, 7, 11, 8], [4, 4, 6, 10, 12, 3]])
INTEGERS = re.compile(r".*(self_attn\.[qkvo]_proj|(shared_expert|experts\.\d+)\.(gate|up|down)_proj)")
# What the published config.json has, keys of kernels that are gone among them.
QUANTIZATION = {
    "batch_size": 1,
    "bits": BITS,
    "block_name_to_quantize": None,
    "cache_block_outputs": True,
    "damp_percent": 0.01,
    "dataset": None,
    "desc_act": False,
    "exllama_config": {"version": 1},
    "group_size": GROUP,
    "max_input_length": None,
    "model_seqlen": None,
    "module_name_preceding_first_block": None,
    "modules_in_block_to_quantize": None,
    "pad_token_id": None,
    "quant_method": "gptq",
    "sym": True,
    "tokenizer": None,
    "true_sequential": True,
    "use_cuda_fp16": False,
    "use_exllama": True,
}


def pack(values: Tensor) -> Tensor:
    """(8 N, M) numbers below 16 -> (N, M) int32, the first in the lowest bits."""
    groups = values.to(torch.int64).unflatten(0, (-1, 32 // BITS))
    words = (groups << (BITS * torch.arange(32 // BITS))[None, :, None]).sum(1)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def quantise_by_hand(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """(O, I) -> the five tensors in the first format, and the weight (O, I) float16 that they stand for."""
    features_out, features_in = weight.shape
    groups = weight.T.unflatten(0, (-1, GROUP))  # (G, 128, O)
    scales = (groups.abs().amax(1) / 7).half()  # (G, O)
    integers = (groups / scales.float()[:, None]).round().clamp(-8, 7) + ZERO
    tensors = {
        "qweight": pack(integers.flatten(0, 1)),
        "qzeros": pack(torch.full((features_out, len(scales)), ZERO - 1)).T.contiguous(),  # less one
        "scales": scales,
        "g_idx": torch.arange(features_in, dtype=torch.int32) // GROUP,
    }
    return tensors, (scales[:, None] * (integers - ZERO).half()).flatten(0, 1).T


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory, make_float: Callable[..., Any]) -> tuple[Path, dict[str, Tensor]]:
    """The checkpoint, and path of a linear layer -> the weight that was packed."""
    directory = tmp_path_factory.mktemp("published") / "model"
    changes = {"hidden_size": 128, "moe_intermediate_size": 128, "shared_expert_intermediate_size": 256}
    make_float(directory, **changes, num_hidden_layers=LAYERS, num_experts=EXPERTS, mlp_only_layers=[])
    floats = safetensors.torch.load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    tensors: dict[str, Tensor] = {}
    packed: dict[str, Tensor] = {}
    for key, tensor in floats.items():
        path, _, name = key.rpartition(".")
        if INTEGERS.fullmatch(path) and name == "weight":
            five, packed[path] = quantise_by_hand(tensor)
            tensors |= {f"{path}.{part}": value for part, value in five.items()}
            if f"{path}.bias" not in floats:
                tensors[f"{path}.bias"] = torch.zeros(len(tensor), dtype=torch.float16)
        else:
            tensors[key] = tensor.half()
    write_shards(directory, tensors)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"quantization_config": QUANTIZATION}))
    (directory / "quantize_config.json").write_text(json.dumps({"bits": BITS, "group_size": GROUP}))
    return directory, packed


def write_shards(directory: Path, tensors: dict[str, Tensor]) -> None:
    weight_map = {}
    for number in (1, 2):
        name = f"model-{number:05}-of-00002.safetensors"
        part = dict(sorted(tensors.items())[number - 1 :: 2])
        safetensors.torch.save_file(part, directory / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def read_shards(directory: Path) -> dict[str, Tensor]:
    return {
        key: value
        for file in directory.glob("*.safetensors")
        for key, value in safetensors.torch.load_file(file).items()
    }


def test_the_keys_are_those_that_were_published(layout: tuple[Path, dict[str, Tensor]]) -> None:
    keys = read_shards(layout[0]).keys()
    for projection in ("gate_proj", "up_proj", "down_proj"):
        for part in ("qweight", "qzeros", "scales", "g_idx", "bias"):
            assert f"model.layers.1.mlp.experts.5.{projection}.{part}" in keys
            assert f"model.layers.0.mlp.shared_expert.{projection}.{part}" in keys
    assert "model.layers.0.mlp.gate.weight" in keys
    assert "model.layers.0.mlp.shared_expert_gate.weight" in keys


def test_every_weight_is_the_one_that_was_packed(layout: tuple[Path, dict[str, Tensor]]) -> None:
    directory, packed = layout
    model: Any = load_quantised(directory)
    assert len(packed) == LAYERS * (4 + 3 * (EXPERTS + 1))
    for path, weight in packed.items():
        assert torch.equal(model.get_submodule(path).dequantize_weight().T, weight), path
    floats = {key: tensor for key, tensor in read_shards(directory).items() if key in dict(model.named_parameters())}
    assert {key.rpartition(".mlp.")[2] for key in floats} >= {"gate.weight", "shared_expert_gate.weight"}
    for key, tensor in floats.items():
        assert torch.equal(model.get_parameter(key), tensor.float()), key


@torch.no_grad()
def test_it_computes_what_the_packed_weights_say(
    layout: tuple[Path, dict[str, Tensor]], make_float: Callable[..., Any], tmp_path: Path
) -> None:
    directory, packed = layout
    model: Any = load_quantised(directory)
    changes = {"hidden_size": 128, "moe_intermediate_size": 128, "shared_expert_intermediate_size": 256}
    make_float(tmp_path / "same", **changes, num_hidden_layers=LAYERS, num_experts=EXPERTS, mlp_only_layers=[])
    tensors = safetensors.torch.load_file(tmp_path / "same" / "model.safetensors")
    tensors = {key: tensor.half().float() for key, tensor in tensors.items()}
    tensors |= {f"{path}.weight": weight.float().contiguous() for path, weight in packed.items()}
    safetensors.torch.save_file(tensors, tmp_path / "same" / "model.safetensors", metadata={"format": "pt"})
    same = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "same").eval()
    torch.testing.assert_close(model(IDS).logits, same(IDS).logits, rtol=1e-4, atol=1e-4)


def test_routers_go_in(layout: tuple[Path, dict[str, Tensor]]) -> None:
    model: Any = load_quantised(layout[0])
    with torch.no_grad(), replace_routers(model, "attention") as replacement:
        assert {router.num_experts for router in replacement.routers.values()} == {EXPERTS}
        assert model(IDS).logits.isfinite().all()


def test_a_bias_that_is_not_zero_is_not_dropped(layout: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    key = "model.layers.1.mlp.experts.4.up_proj.bias"
    for name in ("config.json", "generation_config.json"):
        (tmp_path / name).write_bytes((layout[0] / name).read_bytes())
    tensors = read_shards(layout[0])
    tensors[key][3] = 0.5
    write_shards(tmp_path, tensors)
    with pytest.raises(AssetError, match=re.escape(f"1 tensors unknown to the model, such as {key}")):
        load_quantised(tmp_path)
