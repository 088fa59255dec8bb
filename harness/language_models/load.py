"""A pretrained Mixture-of-Experts language model, by name, checked before it is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.assets.config_checks import LOCAL_ONLY, read_model_config
from harness.assets.errors import AssetError
from harness.assets.memory import check_memory, stored_tensors
from harness.assets.resolve import ModelAsset, directory_asset
from harness.hf_logging import log_errors_only
from harness.language_models.builtin.build import UPCYCLED, upcycled_model

if TYPE_CHECKING:  # otherwise imported where a model is loaded: it takes three seconds
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model, frozen and in evaluation mode, with its tokenizer and where both came from."""

    asset: ModelAsset
    model: PreTrainedModel = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)


def list_language_models() -> list[str]:
    """The names that need no hub, sorted."""
    return sorted(UPCYCLED)


def resolve_language_model(name: str, *, dtype: torch.dtype = torch.float32) -> ModelAsset:
    """The model of that name: `embedded`, a directory with config.json and *.safetensors, or one of the hub.

    What cannot fit into memory is refused before it is downloaded.

    Args:
        name: which; embedded names go first, `./embedded` is the directory.
        dtype: what it will be loaded in.

    Raises:
        AssetError: it cannot be had or cannot fit; one line says why.
        RefusedAssetError: a download is not what is pinned.
    """
    if name in UPCYCLED:
        path, source, sha256 = upcycled_model(name)
        return ModelAsset(name, name, path, source, sha256, UPCYCLED[name].note)
    path = Path(name).expanduser()
    if path.exists():
        path, source = path.absolute(), f"directory {path}"
    else:
        from harness.assets.hub import hub_snapshot  # its library is imported where a hub is asked for

        path = hub_snapshot(name, admit=lambda tensors: check_memory(name, tensors, dtype))
        source = f"Hugging Face {name} at {path.name}"
    # Before all weights are read for their SHA-256.
    check_memory(name, stored_tensors(path), dtype)
    return directory_asset(name, path, source)


def load_language_model(asset: ModelAsset, *, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """The asset's model, no gradients, in evaluation mode, read from its directory alone.

    What a GPTQ checkpoint stores as integers stays so, whatever the dtype.

    Raises:
        AssetError: it cannot fit, transformers cannot read it, it asks for code that is not there, or weights are
            missing or of another shape (which transformers would leave random).
    """
    config = read_model_config(asset.name, asset.path)
    check_memory(asset.name, stored_tensors(asset.path), dtype)
    load = _loader(asset, config)
    with log_errors_only():
        try:
            model = load(asset, dtype)
            tokenizer = _tokenizer(asset)
        except AssetError:
            raise
        except Exception as error:  # whatever a value of the configuration makes transformers raise
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:_LONGEST]}"
            raise AssetError(f"{asset.name}: {asset.path} cannot be loaded as a language model: {reason}") from error
    model.train(False).requires_grad_(False)
    return LanguageModel(asset, model, tokenizer)


def _loader(asset: ModelAsset, config: dict[str, Any]) -> Callable[[ModelAsset, torch.dtype], PreTrainedModel]:
    quantisation = config.get("quantization_config")
    if quantisation is None:
        return _load_floats
    method = quantisation.get("quant_method") if isinstance(quantisation, dict) else quantisation
    if method != "gptq":
        path = asset.path / "config.json"
        raise AssetError(
            f"{asset.name}: {path}: quant_method is {method!r}; what can be loaded is not quantised, or by 'gptq'"
        )
    return _load_gptq


def _load_floats(asset: ModelAsset, dtype: torch.dtype) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    # transformers joins experts into one parameter, and of one that is incomplete says only that it could not.
    _refuse_missing(asset, _missing_of_experts({tensor.name for tensor in stored_tensors(asset.path)}))
    loaded: Any = AutoModelForCausalLM.from_pretrained(  # typed as if it never gave the second
        asset.path,
        use_safetensors=True,
        dtype=dtype,
        ignore_mismatched_sizes=True,  # they are named below; transformers would only point at a report
        output_loading_info=True,
        **LOCAL_ONLY,
    )
    model: PreTrainedModel = loaded[0]
    loading: dict[str, Any] = loaded[1]
    _refuse_missing(asset, {*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])})
    return model


def _missing_of_experts(names: set[str]) -> set[str]:
    """Names that some experts of a layer have and others of that layer have not."""
    experts: dict[str, set[str]] = {}
    parts: dict[str, set[str]] = {}
    for match in filter(None, map(_EXPERT.match, names)):
        experts.setdefault(match["layer"], set()).add(match["expert"])
        parts.setdefault(match["layer"], set()).add(match["part"])
    expected = {f"{layer}.{n}.{part}" for layer in experts for n in experts[layer] for part in parts[layer]}
    return expected - names


def _refuse_missing(asset: ModelAsset, wrong: set[str]) -> None:
    if wrong:
        raise AssetError(f"{asset.name}: {len(wrong)} weights are missing or of another shape, among them {min(wrong)}")


def _load_gptq(asset: ModelAsset, dtype: torch.dtype) -> PreTrainedModel:
    from harness.language_models.gptq.load import load_quantised  # an extra's libraries come with it

    return load_quantised(asset.path, dtype=dtype)


def _tokenizer(asset: ModelAsset) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    if not any((asset.path / name).is_file() for name in _VOCABULARIES):
        # transformers would make a tokenizer that knows no words.
        raise AssetError(f"{asset.name}: expected one of {', '.join(_VOCABULARIES)} beside its weights")
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(asset.path, **LOCAL_ONLY)
    return tokenizer


_EXPERT = re.compile(r"(?P<layer>.*\.experts)\.(?P<expert>\d+)\.(?P<part>.+)")
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt")
_LONGEST = 300
