"""A tiny language model in a directory, with a tokenizer: what it learns means nothing, that it learns is the point."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.assets.resolve import ModelAsset
from harness.finetuning.data import FinetuneData
from harness.finetuning.settings import FinetuneSettings
from harness.language_models.load import resolve_language_model
from harness.text.passages import Passages, encode_windows, load_passages
from tests.harness.tiny_models import tiny_config


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, passages: Passages) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        passages.train[:300], trainers.WordLevelTrainer(vocab_size=300, special_tokens=["<unk>", "<pad>"])
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>").save_pretrained(folder)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(tiny_config(vocab_size=300, pad_token_id=1)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def passages() -> Passages:
    return load_passages()


@pytest.fixture(autouse=True, scope="module")
def text_is_read_once(passages: Passages) -> Iterator[None]:
    """A command parts Shakespeare's works and makes tokens of six of them, which takes a second, most of many tests."""
    kept: dict[tuple[Any, ...], Tensor] = {}

    def windows(tokenizer: Any, text: str, *, length: int, count: int) -> Tensor:
        key = tokenizer.name_or_path, text, length, count
        if key not in kept:
            kept[key] = encode_windows(tokenizer, text, length=length, count=count)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.finetuning.command.load_passages", lambda: passages)
        patch.setattr("harness.finetuning.data.encode_windows", windows)
        yield


@pytest.fixture(scope="session")
def asset(tiny_folder: Path) -> ModelAsset:
    return resolve_language_model(str(tiny_folder))


@pytest.fixture
def settings() -> FinetuneSettings:
    return small_settings()


def small_settings() -> FinetuneSettings:
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
