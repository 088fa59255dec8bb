from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench.language_model import models
from bench.language_model.models import LoadedModel, load_first
from harness.assets.errors import AssetError, RefusedAssetError
from harness.text.passages import load_passages


@pytest.fixture
def nothing_else(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is not built in memory cannot be had; "pinned" comes, but is not what was pinned."""

    def load(name: str) -> LoadedModel:
        if name == "pinned":
            raise RefusedAssetError("pinned: refused")
        raise AssetError(f"{name}: there is none")

    monkeypatch.setattr(models, "_load", load)


def test_the_tiny_model_is_the_same_every_time_and_says_that_it_means_nothing(loaded: LoadedModel) -> None:
    again = load_first(["tiny"], "cpu")
    assert again.asset == loaded.asset
    assert all(map(torch.equal, again.model.parameters(), loaded.model.parameters()))
    assert "mean nothing" in (loaded.asset.note or "")
    assert not loaded.model.training
    assert not any(weight.requires_grad for weight in loaded.model.parameters())


def test_the_digest_is_of_the_weights(loaded: LoadedModel) -> None:
    again = load_first(["tiny"], "cpu").model
    with torch.no_grad():
        next(again.parameters()).flatten()[0] += 1
    assert models._digest(again) != loaded.asset.sha256


@pytest.mark.usefixtures("nothing_else")
def test_the_first_that_can_be_had_is_taken_and_the_note_says_instead_of_what(loaded: LoadedModel) -> None:
    taken = load_first(["Qwen/Large", "missing", "tiny"], "cpu").asset
    note = f"asked for Qwen/Large: there is none; missing: there is none; took tiny ({loaded.asset.note})"
    assert taken == replace(loaded.asset, requested="Qwen/Large", note=note)


@pytest.mark.usefixtures("nothing_else")
def test_where_none_can_be_had_a_line_says_what_can_be_named() -> None:
    with pytest.raises(AssetError, match=r"^missing: there is none; what can be named: tiny, embedded, a directory"):
        load_first(["missing"], "cpu")


@pytest.mark.usefixtures("nothing_else")
def test_what_was_refused_is_not_replaced_by_another() -> None:
    with pytest.raises(RefusedAssetError, match=r"^pinned: refused$"):
        load_first(["pinned", "tiny"], "cpu")


@pytest.fixture
def unsuitable(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "dense" has no experts, "foreign" is of a family that nobody has described."""
    from transformers import LlamaConfig, LlamaForCausalLM

    dense = LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_attention_heads=1))
    foreign = load_first(["tiny"], "cpu").model
    foreign.config.model_type = "foreign"
    built = {"dense": dense, "foreign": foreign}
    monkeypatch.setattr(models, "_load", lambda name: replace(loaded, model=built[name]))


@pytest.mark.usefixtures("unsuitable")
def test_a_model_without_known_experts_is_one_line_and_the_next_is_taken() -> None:
    with pytest.raises(
        AssetError, match=r"^dense: LlamaForCausalLM .* no Mixture-of-Experts block: .*\bforeign: model_t"
    ):
        load_first(["dense", "foreign"], "cpu")
    note = load_first(["dense", "tiny"], "cpu").asset.note or ""
    assert note.startswith("asked for dense: LlamaForCausalLM (llama) has no Mixture-of-Experts block")


def test_it_reads_the_held_out_text_from_its_beginning(loaded: LoadedModel) -> None:
    text = "\n".join(load_passages().held_out)
    ids = loaded.read(3, 50)
    assert (ids.dtype, tuple(ids.shape)) == (torch.int64, (3, 50))
    assert bytes(ids.flatten().tolist()).decode() == text[:150]
    assert torch.equal(loaded.read(1, 20).flatten(), ids.flatten()[:20])
