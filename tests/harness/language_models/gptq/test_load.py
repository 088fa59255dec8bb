"""What is refused before a GPTQ library is imported; the rest is in tests/gptq."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from harness.assets.errors import AssetError
from harness.language_models.gptq.load import load_quantised, quantise

TEXT = torch.arange(20)
CONFIG = {
    "model_type": "qwen2_moe",
    "vocab_size": 32,
    "hidden_size": 64,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 96,
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "float"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(CONFIG))
    safetensors.torch.save_file({"lm_head.weight": torch.ones(2)}, directory / "model.safetensors")
    return directory


@pytest.mark.parametrize(
    ("texts", "options", "words"),
    [
        ([TEXT], {"bits": 5}, "bits is 5, expected 2, 3, 4 or 8"),
        ([TEXT], {}, "group_size is 128, expected a divisor of hidden_size, which is 64"),
        ([TEXT], {"group_size": 64}, "expected a divisor of moe_intermediate_size, which is 32"),
        ([TEXT], {"group_size": 0}, "group_size is 0"),
        ([], {}, "calibration is empty"),
        ([TEXT, TEXT[:10]], {}, r"calibration has torch.int64 \(10,\), expected int64 \(S,\), S >= 11"),
        ([TEXT[None]], {}, r"\(1, 20\)"),
        ([TEXT.float()], {}, "torch.float32"),
        ([TEXT + 20], {}, "calibration has tokens 20 to 39, expected 0 to 31"),
        ([TEXT - 1], {}, "calibration has tokens -1 to 18, expected 0 to 31"),
    ],
)
def test_an_argument_that_cannot_be_is_named(
    directory: Path, texts: list[Tensor], options: dict[str, Any], words: str
) -> None:
    if "group_size" not in words:
        options = {"group_size": 32} | options
    with pytest.raises(ValueError, match=words):
        quantise(directory, directory.with_name("new"), texts, **options)
    assert [path.name for path in directory.parent.iterdir()] == ["float"]


def test_what_is_there_is_not_overwritten(directory: Path) -> None:
    with pytest.raises(AssetError, match="exists already"):
        quantise(directory, directory.parent, [TEXT], group_size=32)


def test_a_model_is_not_quantised_twice(directory: Path) -> None:
    (directory / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(AssetError, match="it has a quantization_config, expected a float model"):
        quantise(directory, directory.with_name("new"), [TEXT], group_size=32)


def test_a_configuration_without_a_size_is_refused(directory: Path) -> None:
    (directory / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": None}))
    with pytest.raises(AssetError, match="its vocab_size is None, expected a number"):
        quantise(directory, directory.with_name("new"), [TEXT], group_size=32)


@pytest.mark.parametrize("make", [load_quantised, lambda path: quantise(path, path.with_name("new"), [TEXT])])
def test_a_configuration_does_not_choose_code_that_would_be_fetched(
    directory: Path, make: Callable[[Path], object]
) -> None:
    (directory / "config.json").write_text(json.dumps(CONFIG | {"attn_implementation": "evil/kernel"}))
    with pytest.raises(AssetError, match=r"config\.json: its attn_implementation is 'evil/kernel', expected one of"):
        make(directory)


def test_truncated_weights_are_refused_before_the_work(directory: Path) -> None:
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(AssetError, match="no whole safetensors file"):
        quantise(directory, directory.with_name("new"), [TEXT], group_size=32)


def test_without_the_extra_one_line_says_how_to_install_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    expected = (
        r"float: GPTQ needs gptqmodel and optimum and defuser; pip install -e '\.\[gptq\]' -c constraints-gptq\.txt"
    )
    with pytest.raises(AssetError, match=expected):
        quantise(directory, directory.with_name("new"), [TEXT], group_size=32)
    config = CONFIG | {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    (directory / "config.json").write_text(json.dumps(config))
    tensors = {"model.layers.0.self_attn.q_proj.qweight": torch.ones(2, dtype=torch.int32)}
    safetensors.torch.save_file(tensors, directory / "model.safetensors")
    with pytest.raises(AssetError, match=expected):
        load_quantised(directory)


def test_importing_the_module_imports_none_of_the_libraries() -> None:
    heavy = "{'gptqmodel', 'optimum', 'defuser', 'transformers'}"
    program = f"import sys, harness.language_models.gptq.load; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
