"""A Llama out of a GGUF file: weights, configuration and tokenizer, exactly as stored there.

Axes: H attention heads, D hidden size, C head size.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harness.assets.errors import AssetError

if TYPE_CHECKING:  # otherwise imported where a model is built: transformers takes three seconds
    from gguf import GGUFReader
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""GGUF's names -> those of transformers; `blk.N.` before the former is `model.layers.N.` before the latter."""
_KIND = {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}
"""The kind of file that is read here; another tokenizer would cut words otherwise."""
_CONTROL = 3
"""The type of a token that no text contains, in GGUF's `tokenizer.ggml.token_type`."""


def read_llama(path: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """The model, float32, frozen and in evaluation mode, and its tokenizer.

    Made for the file of SmolLM2-135M: byte-level BPE with single digits, tied embeddings, no biases.

    Raises:
        AssetError: the file lacks a field, or is of another kind; the line names the field.
    """
    from gguf import GGUFReader

    reader = GGUFReader(path)
    for key, expected in _KIND.items():
        if (found := _value(reader, key)) != expected:
            raise AssetError(f"{path.name}: {key} is {found!r}, expected {expected!r}")
    return _model(reader), _tokenizer(reader)


def _value(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise AssetError(f"the GGUF file has no field {key}")
    return field.contents()


def _model(reader: GGUFReader) -> LlamaForCausalLM:
    from transformers import LlamaConfig, LlamaForCausalLM

    heads, key_value_heads = (_value(reader, f"llama.attention.head_count{suffix}") for suffix in ("", "_kv"))
    config = LlamaConfig(
        vocab_size=_value(reader, "llama.vocab_size"),
        hidden_size=_value(reader, "llama.embedding_length"),
        intermediate_size=_value(reader, "llama.feed_forward_length"),
        num_hidden_layers=_value(reader, "llama.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        max_position_embeddings=_value(reader, "llama.context_length"),
        rms_norm_eps=_value(reader, "llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": _value(reader, "llama.rope.freq_base")},
        bos_token_id=_value(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=_value(reader, "tokenizer.ggml.eos_token_id"),
        pad_token_id=_value(reader, "tokenizer.ggml.padding_token_id"),
        tie_word_embeddings=True,  # the file has no `output.weight`
        dtype=torch.float32,
    )
    state = read_state(reader, heads, key_value_heads)
    with torch.random.fork_rng():  # what is drawn here is all overwritten
        model = LlamaForCausalLM(config)
    model.load_state_dict({**state, "lm_head.weight": state["model.embed_tokens.weight"]})
    model.train(False).requires_grad_(False)
    return model


def read_state(reader: GGUFReader, num_heads: int, num_key_value_heads: int) -> dict[str, Tensor]:
    """Every tensor of the file, dequantised to float32, under the names that transformers' Llama has for it."""
    from gguf.quants import dequantize

    heads = {"attn_q": num_heads, "attn_k": num_key_value_heads}
    state = {}
    for tensor in reader.tensors:
        layer, stem = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.weight", tensor.name).groups()  # type: ignore[union-attr]  # a Llama has no others
        weight = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32))
        if stem in heads:
            weight = unpermute(weight, heads[stem])
        prefix = f"model.layers.{layer}." if layer else ""
        state[f"{prefix}{_NAMES[stem]}.weight"] = weight
    return state


def unpermute(weight: Tensor, num_heads: int) -> Tensor:
    """(H·C, D) from GGUF's order of rows, where a rotated pair stands together, to halves as transformers has them."""
    pairs = weight.reshape(num_heads, -1, 2, weight.shape[-1])  # (H, C/2, 2, D)
    return pairs.transpose(1, 2).reshape(weight.shape)


def _tokenizer(reader: GGUFReader) -> PreTrainedTokenizerBase:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens: list[str] = _value(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in _value(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: n for n, token in enumerate(tokens)}, merges=merges))
    # What GGUF means by the pre-tokenizer `smollm`. transformers' own reader of GGUF leaves digits together.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = _value(reader, "tokenizer.ggml.token_type")
    controls = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in controls])
    named = {
        f"{name}_token": tokens[_value(reader, f"tokenizer.ggml.{key}_token_id")]
        for name, key in {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}.items()
    }
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers types few constructors
        tokenizer_object=tokenizer,
        model_max_length=_value(reader, "llama.context_length"),
        clean_up_tokenization_spaces=False,
        padding_side="right",
        **named,
    )
