"""A model is quantised, loaded and saved; what the libraries get wrong on the way is held here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from torch import Tensor

from harness.assets.errors import AssetError
from harness.language_models.gptq.load import load_quantised, quantise
from harness.language_models.load import load_language_model, resolve_language_model
from harness.text.perplexity import perplexity

IDS = torch.tensor([[5, 9, 3, 7, 11, 8, 1, 2], [4, 4, 6, 10, 12, 3, 2, 1]])
ATTENTION = {f"self_attn.{name}_proj" for name in "qkvo"}
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
SPARSE = {
    f"mlp.{block}.{name}" for block in ("shared_expert", *(f"experts.{e}" for e in range(4))) for name in PROJECTIONS
}


@torch.no_grad()
def answer(model: Any) -> Tensor:
    return model(IDS).logits


def changed_copy(source: Path, target: Path, change: Any) -> Path:
    shutil.copytree(source, target)
    tensors = safetensors.torch.load_file(target / "model.safetensors")
    change(tensors)
    safetensors.torch.save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_it_answers_nearly_as_the_float_model(lasting_model: Any, float_directory: Path) -> None:
    original = transformers.AutoModelForCausalLM.from_pretrained(float_directory).eval()
    expected, actual = answer(original), answer(lasting_model)
    assert 0 < (actual - expected).norm() / expected.norm() < 0.35
    torch.manual_seed(1)
    other = transformers.AutoModelForCausalLM.from_config(original.config).eval()
    assert (answer(other) - expected).norm() / expected.norm() > 0.9


def test_linear_layers_are_integers_and_nothing_else_is(quantised_directory: Path, float_directory: Path) -> None:
    tensors = safetensors.torch.load_file(quantised_directory / "model.safetensors")
    integers = {key.removesuffix(".qweight") for key in tensors if key.endswith(".qweight")}
    sparse = {f"model.layers.{layer}.{path}" for layer in (0, 2) for path in ATTENTION | SPARSE}
    assert integers == sparse | {f"model.layers.1.{path}" for path in ATTENTION}  # the dense layer's network is none
    original = safetensors.torch.load_file(float_directory / "model.safetensors")
    for name in ("0.mlp.gate", "0.mlp.shared_expert_gate", "0.input_layernorm", "1.mlp.up_proj"):
        key = f"model.layers.{name}.weight"
        torch.testing.assert_close(tensors[key].float(), original[key], rtol=1e-3, atol=1e-6)
        assert tensors[key].dtype == torch.float16


def test_the_configuration_is_the_original_one_beside_what_gptq_adds(
    quantised_directory: Path, float_directory: Path
) -> None:
    before, after = (json.loads((path / "config.json").read_text()) for path in (float_directory, quantised_directory))
    assert after.pop("quantization_config")["bits"] == 4
    assert after.pop("dtype") == "float16"
    before.pop("dtype")
    assert after == before


def test_the_tokenizer_comes_along(quantised_directory: Path, float_directory: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (quantised_directory / name).read_bytes() == (float_directory / name).read_bytes()


def test_no_tokenizer_is_made_up(make_float: Callable[..., Any], tmp_path: Path) -> None:
    make_float(tmp_path / "float", num_hidden_layers=1, mlp_only_layers=[])
    quantise(tmp_path / "float", tmp_path / "int8", [torch.arange(1, 30)], bits=8, group_size=32)
    assert not list((tmp_path / "int8").glob("*token*"))
    assert answer(load_quantised(tmp_path / "int8")).isfinite().all()


def test_it_is_a_language_model_like_any_other(quantised_directory: Path) -> None:
    found = load_language_model(resolve_language_model(str(quantised_directory)))
    lines = [torch.tensor(found.tokenizer("w3 w5 w7 w9 w11")["input_ids"])]
    assert isinstance(found.model.model.layers[0].mlp.experts, torch.nn.ModuleList)
    assert 1 < perplexity(found.model, lines) < 10_000


def test_it_comes_frozen_and_in_evaluation_mode(lasting_model: Any) -> None:
    assert not lasting_model.training
    assert not any(parameter.requires_grad for parameter in lasting_model.parameters())
    assert {parameter.dtype for parameter in lasting_model.parameters()} == {torch.float32}


def test_it_computes_in_the_dtype_asked_for(quantised_directory: Path, lasting_model: Any) -> None:
    halved = load_quantised(quantised_directory, dtype=torch.bfloat16)
    assert answer(halved).dtype == torch.bfloat16
    torch.testing.assert_close(answer(halved).float(), answer(lasting_model), rtol=0.1, atol=0.1)


def test_transformers_makes_its_usual_blocks_afterwards(lasting_model: Any, float_directory: Path) -> None:
    assert isinstance(lasting_model.model.layers[0].mlp.experts, torch.nn.ModuleList)
    usual = transformers.AutoModelForCausalLM.from_pretrained(float_directory)
    assert isinstance(usual.model.layers[0].mlp.experts.gate_up_proj, torch.nn.Parameter)


def test_a_loaded_model_is_saved_as_what_it_is(lasting_model: Any, tmp_path: Path) -> None:
    # Its zero points are in the second format; labelled as the first they would all be read one too high.
    lasting_model.save_pretrained(tmp_path / "saved")
    torch.testing.assert_close(answer(load_quantised(tmp_path / "saved")), answer(lasting_model))


@pytest.mark.parametrize("part", ["mlp.experts.2.up_proj.qweight", "mlp.experts.0.down_proj.scales", "mlp.gate.weight"])
def test_a_missing_tensor_is_named_and_never_random(quantised_directory: Path, tmp_path: Path, part: str) -> None:
    key = f"model.layers.2.{part}"
    broken = changed_copy(quantised_directory, tmp_path / "broken", lambda tensors: tensors.pop(key))
    with pytest.raises(AssetError, match=re.escape(f"1 tensors missing, such as {key}")) as refused:
        load_quantised(broken)
    assert "\n" not in str(refused.value)


def test_a_missing_expert_is_refused(quantised_directory: Path, tmp_path: Path) -> None:
    def drop(tensors: dict[str, Tensor]) -> None:
        for key in [key for key in tensors if ".experts.3." in key]:
            del tensors[key]

    with pytest.raises(AssetError, match=r"missing, such as model\.layers\.0\.mlp\.experts\.3"):
        load_quantised(changed_copy(quantised_directory, tmp_path / "broken", drop))


def test_a_tensor_of_another_shape_is_refused_in_one_line(quantised_directory: Path, tmp_path: Path) -> None:
    def cut(tensors: dict[str, Tensor]) -> None:
        key = "model.layers.0.mlp.experts.1.up_proj.qweight"
        tensors[key] = tensors[key][:4].contiguous()

    words = r"1 tensors of another shape, such as model\.layers\.0\.mlp\.experts\.1\.up_proj\.qweight"
    with pytest.raises(AssetError, match=words) as refused:
        load_quantised(changed_copy(quantised_directory, tmp_path / "broken", cut))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 5}}, "5"),
        ({"quantization_config": {"quant_method": "gptq"}}, "bits"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"num_experts": 5}, "missing, such as model.layers.0.mlp.experts.4"),
        ({"num_experts": 3}, "unknown to the model, such as model.layers.0.mlp.experts.3"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_in_one_line(
    quantised_directory: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    shutil.copytree(quantised_directory, broken := tmp_path / "broken")
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(AssetError, match=re.escape(words)) as refused:
        load_quantised(broken)
    assert str(refused.value).startswith(f"{broken}: ")
    assert "\n" not in str(refused.value)


def test_nothing_is_left_when_quantising_fails(
    float_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("harness.language_models.gptq.load.shutil.copy", refuse)
    with pytest.raises(AssetError, match="No space left on device"):
        quantise(float_directory, tmp_path / "new", [torch.arange(1, 30)], group_size=32)
    assert not list(tmp_path.iterdir())


def test_nothing_of_the_process_is_changed_but_two_variables(quantised_directory: Path) -> None:
    program = """
import json, logging, os, sys
before = dict(os.environ)
from harness.language_models.gptq.load import load_quantised
load_quantised(sys.argv[1])
root = logging.getLogger()
changed = {name: value for name, value in os.environ.items() if before.get(name) != value}
print(json.dumps([changed, root.level, len(root.handlers), logging.root.manager.disable]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(quantised_directory)], capture_output=True, text=True, check=True
    )
    # One line on stdout: the libraries' banners and tables are not there.
    changed, *logged = json.loads(done.stdout)
    assert set(changed) <= {"GPTQMODEL_CPU_WORKERS", "GPTQMODEL_DISABLE_PACK_EXT"}
    assert logged == [30, 0, 0]
