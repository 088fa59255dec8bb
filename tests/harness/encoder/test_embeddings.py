from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertModel
from transformers.utils import logging as transformers_logging

from harness.assets.errors import AssetError
from harness.assets.resolve import ModelAsset, resolve_model
from harness.encoder.embeddings import Encoder, contextual_embeddings, feed_forward_inputs, load_encoder, token_batch

TINY = BertConfig(
    hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64
)


@pytest.fixture
def tiny_directory(tmp_path: Path, embedded: ModelAsset) -> Path:
    """A random masked-LM BERT on disk, as the paper's model is stored, with the real tokenizer."""
    directory = tmp_path / "tiny"
    with torch.random.fork_rng():
        BertForMaskedLM(TINY).save_pretrained(directory)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(embedded.path / name, directory)
    return directory


def rewrite(directory: Path, rename: dict[str, str]) -> None:
    weights = load_file(directory / "model.safetensors")
    for old, new in rename.items():
        weights = {key.replace(old, new): value for key, value in weights.items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def test_the_embedded_encoder(encoder: Encoder) -> None:
    assert (encoder.hidden_size, encoder.intermediate_size) == (384, 1536)
    assert not encoder.model.training
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())


def test_loading_is_silent_and_leaves_logging_as_it_was(
    tiny_directory: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    load_encoder(resolve_model(str(tiny_directory)))
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_masked_lm_with_the_names_of_old_checkpoints_loads_whole(tiny_directory: Path) -> None:
    # bert-base-uncased has the prefix `bert.`, LayerNorm.gamma and .beta, and a head that is not wanted here.
    rewrite(tiny_directory, {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"})
    stored = load_file(tiny_directory / "model.safetensors")
    model = load_encoder(resolve_model(str(tiny_directory))).model
    layer = model.encoder.layer[0]
    assert torch.equal(layer.intermediate.dense.weight, stored["bert.encoder.layer.0.intermediate.dense.weight"])
    assert torch.equal(layer.output.LayerNorm.weight, stored["bert.encoder.layer.0.output.LayerNorm.gamma"])


def test_missing_weights_are_refused_and_not_left_random(tiny_directory: Path) -> None:
    rewrite(tiny_directory, {"layer.1.output.dense": "layer.1.elsewhere"})
    with pytest.raises(AssetError, match=r"2 weights are missing .*encoder\.layer\.1\.output\.dense\.bias"):
        load_encoder(resolve_model(str(tiny_directory)))


def test_weights_that_are_no_safetensors_are_one_line(tiny_directory: Path) -> None:
    (tiny_directory / "model.safetensors").write_bytes(b"not at all")
    with pytest.raises(AssetError, match="cannot be loaded as an encoder") as caught:
        load_encoder(resolve_model(str(tiny_directory)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation"])
@pytest.mark.parametrize("value", ["kernels-community/flash-attn", "flash_attention_2"])
def test_a_config_that_names_a_kernel_is_refused(tiny_directory: Path, key: str, value: str) -> None:
    change_config(tiny_directory, **{key: value})
    with pytest.raises(AssetError, match=rf"config\.json: its {key} is '{value}', expected one of batched_mm, eager"):
        load_encoder(resolve_model(str(tiny_directory)))


def change_config(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "has a quantization_config, expected none"),
        ({"hidden_size": "many"}, "cannot be loaded as an encoder"),
        ({"hidden_act": "no such"}, "cannot be loaded as an encoder"),
        ({"auto_map": {"AutoModel": "evil--code.Model"}, "model_type": "evil"}, "cannot be loaded as an encoder"),
    ],
)
def test_a_config_that_cannot_be_followed_is_one_line(
    tiny_directory: Path, changes: dict[str, object], complaint: str
) -> None:
    change_config(tiny_directory, **changes)
    with pytest.raises(AssetError, match=complaint) as caught:
        load_encoder(resolve_model(str(tiny_directory)))
    assert "\n" not in str(caught.value)


def test_an_adapter_beside_an_encoder_is_refused(tiny_directory: Path) -> None:
    (tiny_directory / "adapter_config.json").write_text("{}")
    with pytest.raises(AssetError, match=r"holds an adapter \(adapter_config\.json\)"):
        load_encoder(resolve_model(str(tiny_directory)))


def test_windows_are_consecutive_tokens_between_special_ones(encoder: Encoder, shakespeare: str) -> None:
    ids = token_batch(encoder, shakespeare, batch_size=3, sequence_length=10, seed=0)
    assert (ids.shape, ids.dtype) == ((3, 10), torch.int64)
    assert ids[:, 0].tolist() == [encoder.tokenizer.cls_token_id] * 3
    assert ids[:, -1].tolist() == [encoder.tokenizer.sep_token_id] * 3
    everything = encoder.text_ids(shakespeare)
    assert len(everything) == 1_338_059  # MiniLM's tokenizer is saved with truncation to 128
    places = everything.unfold(0, 8, 1)  # every run of eight tokens
    for window in ids[:, 1:-1]:
        assert (places == window).all(dim=1).any()


def test_windows_follow_their_seed_and_come_from_all_over(encoder: Encoder, shakespeare: str) -> None:
    def batch(seed: int) -> torch.Tensor:
        return token_batch(encoder, shakespeare, batch_size=64, sequence_length=3, seed=seed)

    assert torch.equal(batch(1), batch(1))
    assert not torch.equal(batch(1), batch(2))
    numbers = " ".join(str(number) for number in range(10_000))
    ids = token_batch(encoder, numbers, batch_size=500, sequence_length=12, seed=0)
    places = [
        int(word)
        for word in encoder.tokenizer.batch_decode(ids[:, 2:-2])
        for word in word.split()[2:3]
        if word.isdigit()
    ]
    assert min(places) < 500
    assert max(places) > 9_500


def test_cutting_by_paragraphs_changes_no_token(encoder: Encoder) -> None:
    text = "To be, or not\n\nto be:\n\n\n\nthat is the question.\n"
    whole = encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert encoder.text_ids(text).tolist() == whole


def test_a_text_of_exactly_one_window(encoder: Encoder) -> None:
    ids = token_batch(encoder, "to be or not", batch_size=2, sequence_length=6, seed=0)
    assert encoder.tokenizer.batch_decode(ids) == ["[CLS] to be or not [SEP]"] * 2


@pytest.mark.parametrize(
    ("sizes", "complaint"),
    [
        pytest.param({"sequence_length": 7}, "the text has 4 tokens, a window of 7 needs 5", id="short text"),
        pytest.param({"sequence_length": 513}, "between 3 and 512, got 1 and 513", id="beyond the positions"),
        pytest.param({"sequence_length": 2}, "between 3 and 512", id="no room between the special tokens"),
        pytest.param({"batch_size": 0}, "batch_size must be at least 1", id="no window"),
    ],
)
def test_sizes_that_do_not_fit(encoder: Encoder, sizes: dict[str, int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        token_batch(encoder, "to be or not", **{"batch_size": 1, "sequence_length": 6, "seed": 0, **sizes})


def test_contextual_embeddings_are_the_last_hidden_states(encoder: Encoder, shakespeare: str) -> None:
    ids = token_batch(encoder, shakespeare, batch_size=2, sequence_length=16, seed=0)
    embeddings = contextual_embeddings(encoder, ids)
    assert (embeddings.shape, embeddings.dtype) == ((32, 384), torch.float32)
    with torch.no_grad():
        expected = encoder.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    torch.testing.assert_close(embeddings, expected.view(32, 384), rtol=1e-4, atol=1e-5)
    # Plain tensors, and not those of inference mode: routers are trained on them.
    weight = torch.zeros(384, requires_grad=True)
    (embeddings @ weight).sum().backward()
    assert weight.grad is not None


def test_embeddings_depend_on_their_context(encoder: Encoder) -> None:
    river, money = (
        token_batch(encoder, text, batch_size=1, sequence_length=6, seed=0)
        for text in ("river water bank flow", "money loan bank credit")
    )
    assert river[0, 3] == money[0, 3]
    assert not torch.allclose(contextual_embeddings(encoder, river)[3], contextual_embeddings(encoder, money)[3])


@pytest.mark.parametrize("layer", [0, 5])
def test_feed_forward_inputs_are_the_attention_blocks_output(encoder: Encoder, shakespeare: str, layer: int) -> None:
    ids = token_batch(encoder, shakespeare, batch_size=2, sequence_length=8, seed=0)
    captured: list[torch.Tensor] = []
    handle = encoder.model.encoder.layer[layer].attention.register_forward_hook(
        lambda _module, _inputs, output: captured.append(output[0])
    )
    inputs = feed_forward_inputs(encoder, ids, layer)
    handle.remove()
    assert torch.equal(inputs, captured[0].view(16, 384))
    assert not encoder.model.encoder.layer[layer].intermediate._forward_pre_hooks


def test_a_model_without_special_tokens_is_refused(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoSpecialTokens:
        cls_token_id = sep_token_id = None

    with pytest.raises(ValueError, match="has no \\[CLS\\] and \\[SEP\\]"):
        token_batch(
            replace(encoder, tokenizer=NoSpecialTokens()),  # type: ignore[arg-type]
            "to be",
            batch_size=1,
            sequence_length=3,
            seed=0,
        )


def test_models_of_another_shape_or_depth_are_named(encoder: Encoder) -> None:
    ids = torch.tensor([[101, 102]])
    with pytest.raises(ValueError, match="layer must be between 0 and 5, got 6"):
        feed_forward_inputs(encoder, ids, layer=6)
    pooler_alone = torch.nn.Module()
    pooler_alone.base_model = pooler_alone
    with pytest.raises(ValueError, match="it is not shaped as BERT"):
        feed_forward_inputs(replace(encoder, model=pooler_alone), ids)  # type: ignore[arg-type]
    assert isinstance(encoder.model, BertModel)
