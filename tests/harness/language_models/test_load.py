"""Tiny models in directories, a hub that is none, and the real embedded model where the cache already has it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2MoeForCausalLM
from transformers.utils import logging as transformers_logging

from harness.assets import hub
from harness.assets.errors import AssetError
from harness.assets.fetch import cache_directory
from harness.language_models.builtin.build import UPCYCLED
from harness.language_models.load import list_language_models, load_language_model, resolve_language_model
from harness.replacement.moe_blocks import find_moe_blocks
from harness.text.passages import encode_windows, load_passages
from harness.text.perplexity import perplexity
from tests.harness.tiny_models import tiny_config

COMMIT = "0123456789" * 4


@pytest.fixture(scope="module")
def whole_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2-MoE of two layers on disk, with a tokenizer."""
    from harness.language_models.builtin.gguf_llama import read_llama
    from tests.harness.language_models.builtin.gguf_files import tiny_llama, write_gguf  # skips without gguf

    directory = tmp_path_factory.mktemp("whole")
    with torch.random.fork_rng():
        Qwen2MoeForCausalLM(tiny_config(vocab_size=300)).save_pretrained(directory)
    write_gguf(directory / "tokenizer.gguf", tiny_llama(1))
    read_llama(directory / "tokenizer.gguf")[1].save_pretrained(directory)
    (directory / "tokenizer.gguf").unlink()
    return directory


@pytest.fixture
def directory(whole_directory: Path, tmp_path: Path) -> Path:
    """A copy of it to be damaged."""
    return Path(shutil.copytree(whole_directory, tmp_path / "model"))


def rewrite(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(directory / "model.safetensors")
    change(weights)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def set_config(directory: Path, **values: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def one_line(caught: pytest.ExceptionInfo[AssetError]) -> bool:
    return "\n" not in str(caught.value)


def test_a_directory_is_a_model(whole_directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    asset = resolve_language_model(str(whole_directory))
    assert (asset.name, asset.path, asset.note) == (str(whole_directory), whole_directory, None)
    loaded = load_language_model(asset)
    assert isinstance(loaded.tokenizer, PreTrainedTokenizerFast)
    assert not any(module.training for module in loaded.model.modules())
    assert {(p.dtype, p.requires_grad) for p in loaded.model.parameters()} == {(torch.float32, False)}
    assert len(find_moe_blocks(loaded.model)) == 2
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


def test_it_is_loaded_in_the_dtype_that_is_asked_for(whole_directory: Path) -> None:
    loaded = load_language_model(resolve_language_model(str(whole_directory)), dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}


def drop(name: str) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda weights: weights.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("model.layers.1.mlp.gate.weight"), r"1 weights are missing .* model\.layers\.1\.mlp\.gate\.weight$"),
        (
            drop("model.layers.0.mlp.experts.3.up_proj.weight"),
            r"1 weights are missing .* model\.layers\.0\.mlp\.experts\.3\.up_proj\.weight$",
        ),
        (drop("lm_head.weight"), r"1 weights are missing .* lm_head\.weight$"),
        (
            lambda weights: weights.update({"model.norm.weight": torch.ones(31)}),
            r"1 weights are missing or of another shape, among them model\.norm\.weight$",
        ),
        (lambda weights: weights.clear(), "weights are missing"),
    ],
    ids=["gate", "one expert", "head", "shape", "all"],
)
def test_weights_that_are_missing_or_of_another_shape_are_refused_and_not_left_random(
    directory: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    rewrite(directory, change)
    with pytest.raises(AssetError, match=message) as caught:
        load_language_model(resolve_language_model(str(directory)))
    assert one_line(caught)


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: content[:5], lambda content: b""])
def test_truncated_weights_are_one_line(directory: Path, damage: Callable[[bytes], bytes]) -> None:
    asset = resolve_language_model(str(directory))
    path = directory / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    for refuse in (lambda: resolve_language_model(str(directory)), lambda: load_language_model(asset)):
        with pytest.raises(AssetError, match=r"model\.safetensors: (truncated|expected a safetensors file)") as caught:
            refuse()
        assert one_line(caught)


def test_pickled_weights_are_refused(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(AssetError, match=r"expected \*\.safetensors, there is none; pytorch_model\.bin: pickle"):
        resolve_language_model(str(directory))


def test_a_directory_without_a_configuration_is_refused(directory: Path) -> None:
    (directory / "config.json").unlink()
    with pytest.raises(AssetError, match=r"there is no config\.json"):
        resolve_language_model(str(directory))


@pytest.mark.parametrize(
    "config",
    ["", "[]", "[" * 200_000, '{"model_type": "no-such"}', '{"model_type": "bert-for-nothing"'],
    ids=["empty", "list", "deep", "unknown", "truncated"],
)
def test_a_configuration_that_means_nothing_is_one_line(directory: Path, config: str) -> None:
    (directory / "config.json").write_text(config)
    with pytest.raises(AssetError) as caught:
        load_language_model(resolve_language_model(str(directory)))
    assert one_line(caught)


def test_code_that_comes_with_a_model_is_not_run(directory: Path) -> None:
    (directory / "evil.py").write_text("raise AssertionError('executed')")
    set_config(directory, model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})
    with pytest.raises(AssetError) as caught:
        load_language_model(resolve_language_model(str(directory)))
    assert one_line(caught)


def test_a_directory_without_a_tokenizer_is_refused(directory: Path) -> None:
    for file in directory.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(
        AssetError, match=r"expected one of tokenizer\.json, vocab\.json, vocab\.txt beside its weights"
    ) as caught:
        load_language_model(resolve_language_model(str(directory)))
    assert one_line(caught)


def test_gptq_is_handed_over(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_config(directory, quantization_config={"quant_method": "gptq", "bits": 4})
    asked: list[object] = []

    def load_quantised(path: Path, *, dtype: torch.dtype) -> LlamaForCausalLM:
        asked.extend((path, dtype))
        return LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_attention_heads=1))

    monkeypatch.setitem(
        sys.modules, "harness.language_models.gptq.load", SimpleNamespace(load_quantised=load_quantised)
    )
    loaded = load_language_model(resolve_language_model(str(directory)), dtype=torch.float16)
    assert asked == [directory, torch.float16]
    assert isinstance(loaded.model, LlamaForCausalLM)
    assert not loaded.model.training


@pytest.mark.parametrize(
    ("quantization", "method"),
    [
        ({"quant_method": "awq"}, "'awq'"),
        ({"quant_method": ["gptq"]}, r"\['gptq'\]"),
        ({"load_in_4bit": True}, "None"),
        ({}, "None"),
        ("int4", "'int4'"),
    ],
)
def test_other_quantisations_are_refused(directory: Path, quantization: object, method: str) -> None:
    set_config(directory, quantization_config=quantization)
    message = rf"config\.json: quant_method is {method}; what can be loaded is not quantised, or by 'gptq'$"
    with pytest.raises(AssetError, match=message):
        load_language_model(resolve_language_model(str(directory)))


def test_a_quantisation_of_null_is_none(directory: Path) -> None:
    set_config(directory, quantization_config=None)
    load_language_model(resolve_language_model(str(directory)))


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation"])
@pytest.mark.parametrize("value", ["evil/kernel", "evil/kernel:forward", "flash_attention_2", {"": "evil/kernel"}, 3])
def test_a_configuration_does_not_choose_code_that_would_be_fetched(directory: Path, key: str, value: object) -> None:
    set_config(directory, **{key: value})
    with pytest.raises(
        AssetError, match=rf"config\.json: its {key} is .*, expected one of batched_mm, eager, "
    ) as caught:
        load_language_model(resolve_language_model(str(directory)))
    assert one_line(caught)


def test_an_adapter_in_the_directory_is_not_put_in_silently(directory: Path) -> None:
    (directory / "adapter_config.json").write_text("{}")
    with pytest.raises(AssetError, match=r"holds an adapter \(adapter_config\.json\)") as caught:
        load_language_model(resolve_language_model(str(directory)))
    assert one_line(caught)


def test_nor_does_a_configuration_within_it(directory: Path) -> None:
    set_config(directory, text_config={"layers": [{"attn_implementation": "evil/kernel"}]})
    with pytest.raises(AssetError, match=r"config\.json: its attn_implementation is 'evil/kernel', expected one of"):
        load_language_model(resolve_language_model(str(directory)))


@pytest.mark.parametrize("value", [None, "eager", "sdpa"])
def test_what_torch_has_may_be_chosen(directory: Path, value: str | None) -> None:
    set_config(directory, attn_implementation=value, experts_implementation="batched_mm")
    config = load_language_model(resolve_language_model(str(directory))).model.config
    assert (config._attn_implementation, config._experts_implementation) == (value or "sdpa", "batched_mm")


@pytest.mark.parametrize(
    "values",
    [
        {"num_hidden_layers": "two"},
        {"num_attention_heads": 0},
        {"model_type": ["a"]},
        {"hidden_size": -1},
        {"hidden_act": "no-such"},
        {"layer_types": 3},
    ],
    ids=str,
)
def test_values_that_make_no_model_are_one_line_with_the_name_and_the_path(directory: Path, values: dict) -> None:
    set_config(directory, **values)
    asset = replace(resolve_language_model(str(directory)), name="mine")
    with pytest.raises(
        AssetError, match=rf"^mine: {re.escape(str(directory))} cannot be loaded as a .*: \w+"
    ) as caught:
        load_language_model(asset)
    assert one_line(caught)


def test_a_directory_that_cannot_fit_is_refused(whole_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asset = resolve_language_model(str(whole_directory))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    for refuse in (lambda: resolve_language_model(str(whole_directory)), lambda: load_language_model(asset)):
        with pytest.raises(AssetError, match=r"its weights need 0\.0 GB of memory in float32, 0\.0 GB are available"):
            refuse()


def test_a_model_of_the_hub_that_cannot_fit_is_refused_before_it_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    info = SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename="model.safetensors")])
    header = {"weights": SimpleNamespace(dtype="BF16", shape=[14_315_784_192])}
    metadata = SimpleNamespace(files_metadata={"model.safetensors": SimpleNamespace(tensors=header)})
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *_, **__: info)
    monkeypatch.setattr(hub.HfApi, "get_safetensors_metadata", lambda *_, **__: metadata)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=int(9e9)))

    def no_download(*_: object, **__: object) -> None:
        raise AssertionError("nothing should be downloaded")

    monkeypatch.setattr(hub, "snapshot_download", no_download)
    name = "Qwen/Qwen1.5-MoE-A2.7B"
    with pytest.raises(AssetError, match=rf"^{name}: its weights need 57\.3 GB .* float32, .* GB are available$"):
        resolve_language_model(name)
    with pytest.raises(AssetError, match=rf"^{name}: its weights need 28\.6 GB of memory in bfloat16"):
        resolve_language_model(name, dtype=torch.bfloat16)


def test_a_hub_that_does_not_tell_sizes_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    info = SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename="model.safetensors")])

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("gone\nfor good")

    monkeypatch.setattr(hub.HfApi, "model_info", lambda *_, **__: info)
    monkeypatch.setattr(hub.HfApi, "get_safetensors_metadata", fail)
    with pytest.raises(AssetError, match=r"^some/model: the hub does not give the sizes of its weights \(gone\)$"):
        resolve_language_model("some/model")


def test_the_embedded_model_is_named() -> None:
    assert list_language_models() == ["embedded"]


@pytest.fixture
def cached_embedded() -> None:
    directory = cache_directory() / "models" / UPCYCLED["embedded"].directory
    recipe = directory / "RECIPE.json"
    if not recipe.is_file() or recipe.read_text() != UPCYCLED["embedded"].identity():
        pytest.skip(f"making the embedded model takes two minutes, and {directory} has none of today's recipe")


@pytest.mark.usefixtures("cached_embedded")
def test_the_real_embedded_model_predicts_text_and_depends_on_its_routers() -> None:
    asset = resolve_language_model("embedded")
    language_model = load_language_model(asset)
    assert asset.note is not None
    assert "not Qwen1.5-MoE" in asset.note
    model = language_model.model
    blocks = find_moe_blocks(model)
    assert [block.layer for block in blocks] == list(range(2, 30, 3))
    assert {(b.hidden_size, b.num_experts, b.top_k, b.norm_topk_prob) for b in blocks} == {(576, 20, 8, True)}
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008 + 10 * 21 * 576
    text = load_passages().held_out_text[50_000:60_000]
    windows = list(encode_windows(language_model.tokenizer, text, length=100, count=2))
    fitted = perplexity(model, windows)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for block in blocks:
            block.gate.weight.normal_(std=0.02)
    assert fitted < 120
    assert perplexity(model, windows) > 1.1 * fitted
