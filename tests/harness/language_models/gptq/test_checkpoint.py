"""Directories that are no whole GPTQ checkpoint: each refused in one line that names the file."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from harness.assets.errors import AssetError
from harness.language_models.gptq.checkpoint import check_quantised, read_checkpoint

CONFIG: dict[str, Any] = {"model_type": "qwen2_moe", "quantization_config": {"quant_method": "gptq", "bits": 4}}
EXPERT = "model.layers.3.mlp.experts.0.up_proj"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_config(tmp_path, CONFIG)
    tensors = {f"{EXPERT}.qweight": torch.ones(2, dtype=torch.int32), "model.layers.3.mlp.gate.weight": torch.zeros(3)}
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path


def write_config(directory: Path, config: Any) -> None:
    (directory / "config.json").write_text(json.dumps(config))


def refusal(directory: Path) -> str:
    with pytest.raises(AssetError) as refused:
        check_quantised(read_checkpoint(directory))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_whole_one_is_looked_through(directory: Path) -> None:
    checkpoint = read_checkpoint(directory)
    check_quantised(checkpoint)
    assert checkpoint.quantised_paths == ["mlp.experts.0.up_proj"]
    assert checkpoint.is_zero("model.layers.3.mlp.gate.weight")
    assert not checkpoint.is_zero(f"{EXPERT}.qweight")


def test_files_that_an_index_names_are_one_checkpoint(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "model-00001-of-00002.safetensors")
    safetensors.torch.save_file({"lm_head.weight": torch.ones(2)}, directory / "model-00002-of-00002.safetensors")
    names = {
        f"{EXPERT}.qweight": "model-00001-of-00002.safetensors",
        "lm_head.weight": "model-00002-of-00002.safetensors",
    }
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert read_checkpoint(directory).files.keys() == {*names, "model.layers.3.mlp.gate.weight"}
    (directory / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors" in refusal(directory)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_weights(directory: Path, share: float) -> None:
    file = directory / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    assert f"{file}: no whole safetensors file" in refusal(directory)


def test_a_pickle_under_a_safe_name(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(pickle.dumps({"weight": [0.0] * 100}))
    assert "no whole safetensors file" in refusal(directory)


def test_pickles_alone(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    assert "there is no such file; pytorch_model.bin: pickle is refused" in refusal(directory)


def test_no_such_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere").endswith("nowhere/config.json: cannot be read: No such file or directory")


GPTQ = CONFIG["quantization_config"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quantization_config": None}, "config.json: not a GPTQ checkpoint, it has no quantization_config"),
        ({"quantization_config": {"quant_method": "awq"}}, "quant_method is 'awq', expected 'gptq'"),
        ({"quantization_config": {"bits": 4}}, "quant_method is None, expected 'gptq'"),
        ({"quantization_config": GPTQ | {"checkpoint_format": "marlin"}}, "checkpoint_format is 'marlin'"),
        ({"model_type": "llama"}, "model_type is 'llama', expected 'qwen2_moe'"),
    ],
    ids=["float", "awq", "none", "marlin", "llama"],
)
def test_another_kind_of_model(directory: Path, change: dict[str, Any], words: str) -> None:
    write_config(directory, CONFIG | change)
    assert words in refusal(directory)


@pytest.mark.parametrize("text", ["", '{"model_type": "qwen2', "\udcff", "[" * 100_000, "[]"])
def test_a_damaged_configuration(directory: Path, text: str) -> None:
    (directory / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    assert "config.json: damaged" in refusal(directory)


def test_weights_without_integers(directory: Path) -> None:
    safetensors.torch.save_file({"model.layers.0.mlp.gate.weight": torch.zeros(3)}, directory / "model.safetensors")
    assert refusal(directory) == f"{directory}: not a GPTQ checkpoint, no layer has a qweight"


@pytest.mark.parametrize("weight_map", [None, {}, [], {"a": "../elsewhere.safetensors"}, {"a": "pytorch_model.bin"}])
def test_an_index_that_names_no_safetensors_beside_it(directory: Path, weight_map: Any) -> None:
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert "model.safetensors.index.json" in refusal(directory)
