"""A tiny language model in a directory, with a tokenizer: what it learns means nothing, that it learns is the point."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.assets.resolve import ModelAsset
from harness.finetuning.data import FinetuneData
from harness.finetuning.settings import FinetuneSettings
from harness.language_models.load import resolve_language_model
from harness.text.passages import Passages, load_passages

EXPERTS, TOP_K, LAYERS = 4, 2, 2


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, passages: Passages) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        passages.train[:300], trainers.WordLevelTrainer(vocab_size=300, special_tokens=["<unk>", "<pad>"])
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>").save_pretrained(folder)
    config = AutoConfig.for_model(
        "qwen2_moe",
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=24,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_experts=EXPERTS,
        num_experts_per_tok=TOP_K,
        decoder_sparse_step=1,
        max_position_embeddings=64,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def passages() -> Passages:
    return load_passages()


@pytest.fixture(scope="session")
def asset(tiny_model: Path) -> ModelAsset:
    return resolve_language_model(str(tiny_model))


@pytest.fixture
def settings() -> FinetuneSettings:
    """Seven steps: five to an epoch, so that an epoch's end and its short last step are met."""
    return FinetuneSettings(
        steps=7,
        batch_size=2,
        gradient_accumulation_steps=2,
        log_every=2,
        train_lines=19,
        held_out_windows=3,
        calibration_windows=10,
        max_length=16,
        learning_rate=1e-2,
    )


@pytest.fixture
def data(asset: ModelAsset, passages: Passages, settings: FinetuneSettings) -> FinetuneData:
    return FinetuneData(asset, passages, settings)
