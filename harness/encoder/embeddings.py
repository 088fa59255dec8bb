"""A pretrained encoder, token windows of a text, and what the encoder makes of them as input for routers.

Axes: B batch, S sequence, T = B·S tokens, D hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from harness.assets.config_checks import LOCAL_ONLY, read_model_config
from harness.assets.errors import AssetError
from harness.assets.resolve import ModelAsset
from harness.hf_logging import log_errors_only

if TYPE_CHECKING:  # otherwise imported where a model is loaded: it takes three seconds, and random input needs none
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Encoder:
    """A model, frozen and in evaluation mode, with its tokenizer and where both came from."""

    asset: ModelAsset
    model: PreTrainedModel = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    _text_ids: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def hidden_size(self) -> int:
        """D."""
        return int(self.model.config.hidden_size)

    @property
    def intermediate_size(self) -> int:
        """I, of the feed-forward networks."""
        return int(self.model.config.intermediate_size)

    def text_ids(self, text: str) -> Tensor:
        """(N,) int64, the whole text without special tokens; kept, because millions of characters take seconds."""
        if text not in self._text_ids:
            # By paragraphs, which the tokenizer spreads over its threads; where words are cut, both ways are the same.
            paragraphs = self.tokenizer(
                text.split("\n\n"),
                add_special_tokens=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                # Tokenizers are saved with the padding and truncation of their training, 128 tokens for MiniLM.
                padding=False,
                truncation=False,
                verbose=False,
            )["input_ids"]
            self._text_ids[text] = torch.tensor([token for ids in paragraphs for token in ids], dtype=torch.int64)
        return self._text_ids[text]


def load_encoder(asset: ModelAsset) -> Encoder:
    """The asset's model in float32, no gradients, in evaluation mode, read from its directory alone.

    Raises:
        AssetError: transformers cannot read it, its configuration asks for code that is not there or a quantisation, or
            the file lacks weights of the layers (which transformers would leave random).
    """
    from transformers import AutoModel, AutoTokenizer

    if read_model_config(asset.name, asset.path).get("quantization_config") is not None:
        raise AssetError(f"{asset.name}: {asset.path / 'config.json'} has a quantization_config, expected none")
    with log_errors_only():
        try:
            tokenizer = AutoTokenizer.from_pretrained(asset.path, **LOCAL_ONLY)
            model, loading = AutoModel.from_pretrained(
                asset.path, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **LOCAL_ONLY
            )
        except Exception as error:  # whatever a value of the configuration makes transformers raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise AssetError(f"{asset.name}: {asset.path} cannot be loaded as an encoder: {reason}") from error
    # The pooler's output is not used here, and masked-LM checkpoints have none.
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith("pooler."))
    if missing or loading["mismatched_keys"]:
        wrong = missing or sorted(str(key) for key in loading["mismatched_keys"])
        raise AssetError(f"{asset.name}: {len(wrong)} weights are missing or of another shape, among them {wrong[0]}")
    return Encoder(asset, model.eval().requires_grad_(False), tokenizer)


def token_batch(encoder: Encoder, text: str, *, batch_size: int, sequence_length: int, seed: int) -> Tensor:
    """Windows of consecutive tokens from seeded random places of the text, between the tokenizer's special tokens.

    Returns:
        (B, S) int64 with S = `sequence_length`, the two special tokens included; no padding.

    Raises:
        ValueError: a size that the model, the tokenizer or the text does not allow.
    """
    first, last = encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id
    if first is None or last is None:
        raise ValueError(f"{encoder.asset.name}: its tokenizer has no [CLS] and [SEP] to put around a window")
    longest = min(encoder.tokenizer.model_max_length, encoder.model.config.max_position_embeddings)
    if batch_size < 1 or not 3 <= sequence_length <= longest:
        raise ValueError(
            f"batch_size must be at least 1 and sequence_length between 3 and {longest}, "
            f"got {batch_size} and {sequence_length}"
        )
    ids = encoder.text_ids(text)
    inner = sequence_length - 2
    if len(ids) < inner:
        raise ValueError(f"the text has {len(ids)} tokens, a window of {sequence_length} needs {inner}")
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.randint(len(ids) - inner + 1, (batch_size, 1), generator=generator)
    windows = ids[offsets + torch.arange(inner)]  # (B, S - 2)
    return torch.cat(
        [windows.new_full((batch_size, 1), first), windows, windows.new_full((batch_size, 1), last)], dim=1
    )


@torch.no_grad()
def contextual_embeddings(encoder: Encoder, token_ids: Tensor) -> Tensor:
    """(B, S) tokens -> (B·S, D) last hidden states, detached, in float32."""
    last_hidden_state: Tensor = encoder.model(input_ids=token_ids.to(encoder.model.device)).last_hidden_state
    return last_hidden_state.flatten(0, 1)


@torch.no_grad()
def feed_forward_inputs(encoder: Encoder, token_ids: Tensor, layer: int = 0) -> Tensor:
    """(B, S) tokens -> (B·S, D), what enters that layer's feed-forward network: what an injected router would see.

    Raises:
        ValueError: the model has no such layer.
    """
    captured: list[Tensor] = []

    def capture(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        captured.append(inputs[0])

    handle = encoder_layer(encoder.model, layer).intermediate.register_forward_pre_hook(capture)
    try:
        encoder.model(input_ids=token_ids.to(encoder.model.device))
    finally:
        handle.remove()
    return captured[0].flatten(0, 1)


def encoder_layer(model: PreTrainedModel, layer: int) -> Any:
    """The layer of a BERT-shaped encoder: `intermediate`, then `output` with `dense`, dropout and LayerNorm.

    Raises:
        ValueError: the model is of another shape, or has no such layer.
    """
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    if not isinstance(layers, nn.ModuleList) or not hasattr(layers[0], "intermediate"):
        raise ValueError(f"{type(model).__name__} has no encoder.layer[i].intermediate: it is not shaped as BERT")
    if not 0 <= layer < len(layers):
        raise ValueError(f"layer must be between 0 and {len(layers) - 1}, got {layer}")
    return layers[layer]
