from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.assets.errors import AssetError
from harness.language_models.builtin.gguf_llama import read_llama, unpermute
from tests.harness.language_models.builtin.gguf_files import BYTES, SPECIAL, TOKENS, permute, tiny_llama, write_gguf


@pytest.fixture(scope="module")
def original() -> LlamaForCausalLM:
    return tiny_llama()


@pytest.fixture(scope="module")
def read(original: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> tuple[LlamaForCausalLM, object]:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path, original)
    return read_llama(path)


@pytest.fixture
def tokenizer(read: tuple[LlamaForCausalLM, PreTrainedTokenizerFast]) -> PreTrainedTokenizerFast:
    return read[1]


def test_every_weight_is_the_one_that_was_stored(
    original: LlamaForCausalLM, read: tuple[LlamaForCausalLM, object]
) -> None:
    stored, found = original.state_dict(), read[0].state_dict()
    assert stored.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in stored.items())
    assert not read[0].training
    assert not any(parameter.requires_grad for parameter in read[0].parameters())


def test_its_logits_are_the_originals(original: LlamaForCausalLM, read: tuple[LlamaForCausalLM, object]) -> None:
    # The base of the rotation, epsilon and the number of heads are in these.
    token_ids = torch.arange(40)[None]
    torch.testing.assert_close(read[0](token_ids).logits, original(token_ids).logits)


def test_transformers_reads_the_same_weights(original: LlamaForCausalLM, tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", original, quantised=True)
    theirs = LlamaForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32).state_dict()
    ours = read_llama(tmp_path / "tiny.gguf")[0].state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_rows_of_queries_and_keys_come_back_from_ggufs_order() -> None:
    weight: Tensor = torch.arange(24.0).reshape(12, 2)
    assert permute(weight, 2)[:, 0].tolist() == [0, 6, 2, 8, 4, 10, 12, 18, 14, 20, 16, 22]
    assert torch.equal(unpermute(permute(weight, 2), 2), weight)


def test_digits_stand_alone_and_merges_are_made(tokenizer: PreTrainedTokenizerFast) -> None:
    # transformers' own reader would merge 1, 5 and 9, as the list of merges allows.
    assert tokenizer.convert_ids_to_tokens(tokenizer("the 1599")["input_ids"]) == ["t", "he", "Ġ", "1", "5", "9", "9"]
    assert tokenizer.convert_ids_to_tokens(tokenizer(" the")["input_ids"]) == ["Ġthe"]


@pytest.mark.parametrize("text", ["naïve £5, 'tis — 日本", "  two  blanks\n\n", "x<|im_end|>y"])
def test_text_comes_back_as_it_was(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_special_tokens_are_one_token_each(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer("".join(SPECIAL))["input_ids"] == [0, 1, 2]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (1, 2, 0)
    assert (tokenizer.pad_token_id, tokenizer.padding_side) == (2, "right")
    assert len(tokenizer) == len(TOKENS)


def test_the_tokenizer_goes_to_disk_and_back(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "the 1599 naïve" + SPECIAL[1] + "".join(BYTES[:40])
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert (loaded.pad_token_id, loaded.model_max_length) == (2, 512)


def test_another_tokenizer_is_refused(original: LlamaForCausalLM, tmp_path: Path) -> None:
    write_gguf(tmp_path / "other.gguf", original, pre="llama-bpe")
    with pytest.raises(AssetError, match=r"^other\.gguf: tokenizer\.ggml\.pre is 'llama-bpe', expected 'smollm'$"):
        read_llama(tmp_path / "other.gguf")


def test_a_file_without_a_field_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gguf import GGUFReader

    write_gguf(tmp_path / "tiny.gguf", tiny_llama())
    whole = GGUFReader.get_field
    monkeypatch.setattr(GGUFReader, "get_field", lambda self, key: None if "rope" in key else whole(self, key))
    with pytest.raises(AssetError, match=r"has no field llama\.rope\.freq_base"):
        read_llama(tmp_path / "tiny.gguf")
