"""The language model of a run, and the text that it reads. Axes: N tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.router.seeds import derive_seed
from harness.assets.errors import AssetError, RefusedAssetError
from harness.assets.resolve import ModelAsset
from harness.language_models.load import list_language_models, load_language_model, resolve_language_model
from harness.replacement.moe_blocks import find_moe_blocks
from harness.text.passages import load_passages

if TYPE_CHECKING:  # for its type alone; it takes three seconds to import
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A language model in memory, for evaluation, no parameter trainable.

    Attributes:
        asset: where it came from.
        model: with its own routers.
        encode: text -> tokens.
        taken: the name that it was found under, by which another process loads it again.
    """

    asset: ModelAsset
    model: PreTrainedModel
    encode: Callable[[str], list[int]]
    taken: str = ""

    def read(self, *shape: int) -> Tensor:
        """The first tokens of the held-out text, int64 of that shape, on the model's device."""
        count = int(torch.Size(shape).numel())
        lines = self._lines[:count]  # a line has more than one token
        ids = torch.tensor(self.encode("\n".join(lines))[:count])
        return ids.view(shape).to(self.model.device)

    @cached_property
    def _lines(self) -> Sequence[str]:
        return load_passages().held_out


def load_first(names: Sequence[str], device: str) -> LoadedModel:
    """The first of the language models that can be had and has routers that can be found.

    Its note says what was taken instead of the first, and why.

    Args:
        names: "tiny", "embedded", directories, names on the Hugging Face hub; in order of preference.
        device: where to put it.

    Raises:
        AssetError: there is none; one line says why not, and what exists.
        RefusedAssetError: a download is not what is pinned; later names are not tried then.
    """
    failures: list[str] = []
    for name in names:
        try:
            loaded = BUILT.get(name, _load)(name)
            _check_blocks(name, loaded.model)
        except RefusedAssetError:
            raise
        except AssetError as error:
            failures.append(str(error))
            continue
        asset = replace(loaded.asset, requested=names[0])
        if failures:
            note = f"asked for {'; '.join(failures)}; took {name}" + (f" ({asset.note})" if asset.note else "")
            asset = replace(asset, note=note)
        loaded.model.train(False).to(device)
        return replace(loaded, asset=asset, taken=name)
    raise AssetError(
        f"{'; '.join(failures)}; what can be named: {', '.join([*BUILT, *list_language_models()])}, a directory, "
        "a Hugging Face model"
    )


def _check_blocks(name: str, model: nn.Module) -> None:
    try:
        find_moe_blocks(model)
    except ValueError as error:
        raise AssetError(f"{name}: {error}") from error


def _load(name: str) -> LoadedModel:
    found = load_language_model(resolve_language_model(name))

    def encode(text: str) -> list[int]:
        return list(found.tokenizer(text, add_special_tokens=False)["input_ids"])

    return LoadedModel(found.asset, found.model, encode)


def _tiny(name: str) -> LoadedModel:
    """A Qwen2-MoE of 40,000 random weights that reads bytes: seconds, to see everything work."""
    from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

    config = Qwen2MoeConfig(
        vocab_size=256,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=32,
        num_experts=8,
        num_experts_per_tok=2,
        mlp_only_layers=[0],
        max_position_embeddings=4096,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("language model", 0))
        model = Qwen2MoeForCausalLM(config).requires_grad_(False)
    note = "random weights, built in memory: its numbers mean nothing"
    asset = ModelAsset(name, name, Path(), "built in memory", _digest(model), note)
    return LoadedModel(asset, model, lambda text: list(text.encode()))


def _digest(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


BUILT: dict[str, Callable[[str], LoadedModel]] = {"tiny": _tiny}
"""Models that are made and not fetched, by name."""
