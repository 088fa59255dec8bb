"""A tiny model with random weights of every Mixture-of-Experts family of transformers: one generator, one table.

Another family needs its own sizes here, beside its statement in `harness/replacement/families.py`.
"""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

HIDDEN, EXPERTS, TOP_K, LAYERS, BIAS = 32, 8, 2, 2, 0.3
SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 24,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    # E and K by all their names
    "num_experts": EXPERTS,
    "num_local_experts": EXPERTS,
    "n_routed_experts": EXPERTS,
    "moe_num_experts": EXPERTS,
    "num_experts_per_tok": TOP_K,
    "moe_topk": TOP_K,
    "moe_k": TOP_K,
    "top_k_experts": TOP_K,
    "n_group": 2,
    "topk_group": 1,
    "n_shared_experts": 1,
    "num_shared_experts": 1,
    "moe_num_shared_experts": 1,
    # a rule that is not the default
    "routed_scaling_factor": 1.5,
    "router_scaling_factor": 1.5,
    "route_scale": 1.5,
    # experts in every layer
    "first_k_dense_replace": 0,
    "num_dense_layers": 0,
    "decoder_sparse_step": 1,
    "moe_layer_start_index": 0,
    "mlp_only_layers": [],
    "mlp_layer_types": ["sparse"] * LAYERS,
    "enable_moe_block": True,
    # latent attention
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
"""What families call by one name; a family ignores what it does not have."""
LINEAR_ATTENTION: dict[str, Any] = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_head_dim": 8,
    "linear_num_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
NOT_OF_T5 = {"num_hidden_layers": None, "num_attention_heads": None, "hidden_size": None}
"""Names that stand for others there: None leaves them out."""

OWN_SIZES: dict[str, dict[str, Any]] = {
    "bailing_hybrid": LINEAR_ATTENTION,
    "kimi_linear": LINEAR_ATTENTION | {"q_lora_rank": None},
    "qwen3_next": LINEAR_ATTENTION,
    "qwen3_5_moe": LINEAR_ATTENTION,
    "qwen4_exp": LINEAR_ATTENTION
    | {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
        "ngram_vocab_size_base": 50,
        "make_ngram_vocab_size_divisible_by": 2,
        "split_ngram_parts": 1,
        "heads_per_ngram": 1,
    },
    "glm5_next": LINEAR_ATTENTION
    | {
        "layer_types": ["linear_attention", "indexed_attention"],
        "indexer_types": ["full", "full"],
        "qk_rope_head_dim": 0,
        "index_topk": 4,
        "index_head_dim": 8,
        "index_n_heads": 2,
        "index_kpool": 2,
    },
    "dbrx": {
        "d_model": HIDDEN,
        "n_heads": 4,
        "n_layers": LAYERS,
        "max_seq_len": 64,
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {
            "hidden_size": HIDDEN,
            "ffn_hidden_size": 16,
            "moe_num_experts": EXPERTS,
            "moe_top_k": TOP_K,
        },
    },
    "deepseek_v4": {
        "mlp_layer_types": ["hash_moe", "moe"],
        "layer_types": ["sliding_attention"] * LAYERS,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "o_groups": 2,
        "o_lora_rank": 8,
        "index_n_heads": 2,
        "index_head_dim": 8,
        "index_topk": 4,
    },
    "ernie4_5_vl_moe": {
        "moe_intermediate_size": [16, 8],
        "head_dim": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
    },
    "glm4v_moe": {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "mrope_section": [1, 1, 0],
        }
    },
    "gemma4": {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 61},
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention"],
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "mamba_d_state": 4,
        "mamba_expand": 2,
        "shared_intermediate_size": 24,
    },
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 1,
        "expert_layer_offset": 0,
        "mamba_d_state": 4,
        "use_mamba_kernels": False,
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mimo_v2_flash": {"num_key_value_heads": 2},
    "mistral4": {"head_dim": None},
    "nemotron_h": {"layers_block_type": ["attention", "moe"], "moe_shared_expert_intermediate_size": 24},
    "phimoe": {"router_jitter_noise": 0.3},
    "step3p7": {"sliding_window": 8},
    "nllb_moe": NOT_OF_T5
    | {
        "d_model": HIDDEN,
        "encoder_layers": LAYERS,
        "decoder_layers": LAYERS,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_sparse_step": 1,
    },
    "switch_transformers": NOT_OF_T5
    | {
        "d_model": HIDDEN,
        "d_kv": 8,
        "d_ff": 16,
        "num_layers": LAYERS,
        "num_decoder_layers": LAYERS,
        "num_heads": 4,
        "num_sparse_encoder_layers": 1,
        "num_sparse_decoder_layers": 1,
        "encoder_sparse_step": 1,
        "decoder_start_token_id": 0,
        "expert_capacity": 4,
    },
    "longcat_flash": {"zero_expert_num": 2},
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 12},
}
"""Family -> its own sizes; None leaves a name out."""
NONE_IS_MEANT = {("kimi_linear", "q_lora_rank")}

CLASSES = {
    "deepseek_ocr2": "DeepseekOcr2TextModel",
    "diffusion_gemma": "DiffusionGemmaEncoderTextModel",
    "ernie4_5_vl_moe": "Ernie4_5_VLMoeTextModel",
    "glm4v_moe": "Glm4vMoeTextModel",
    "glm5_next": "Glm5NextTextModel",
    "mistral4": "Mistral4ForCausalLM",
    "mistral_large4": "MistralLarge4TextModel",
    "muse_spark": "MuseSparkTextModel",
    "nllb_moe": "NllbMoeForConditionalGeneration",
    "openai_privacy_filter": "OpenAIPrivacyFilterModel",
    "qwen3_omni_moe": "Qwen3OmniMoeThinkerTextModel",
    "qwen3_vl_moe": "Qwen3VLMoeTextModel",
    "step3p7": "Step3p7TextModel",
    "switch_transformers": "SwitchTransformersForConditionalGeneration",
    "unlimited_ocr": "UnlimitedOcrTextModel",
}
"""Family -> the class of its text model, where there is no causal language model of that part alone."""
MODEL_TYPES = {"nllb_moe": "nllb-moe", "step3p7": "step3p5"}
"""Family -> its configuration's `model_type`, where it is neither the family's name nor that with _text."""

IDS = torch.tensor([[5, 9, 3, 7, 11, 8], [4, 4, 6, 10, 12, 3]])
"""(B, S), two sequences without padding."""
_BLOCKS = re.compile(r"^class \w*(Experts|MoE|Moe|TopKRouter|TopkRouter|SparseMLP)\(", re.MULTILINE)
_BIASES = ("e_score_correction_bias", "expert_bias", "balancing_biases")


WITHOUT_ROUTER = {"vitpose_backbone"}
"""Folders whose experts are chosen by a data set's number."""


@cache
def families_of_transformers() -> tuple[str, ...]:
    """The folders of models of the installed transformers that define experts or a block with a router."""
    files = (Path(transformers.__file__).parent / "models").glob("*/modeling_*.py")
    found = {file.parent.name for file in files if _BLOCKS.search(file.read_text(encoding="utf-8"))}
    return tuple(sorted(found - WITHOUT_ROUTER))


def tiny_config(family: str, **changes: Any) -> Any:
    """The configuration of a tiny model of a family."""
    own = OWN_SIZES.get(family, {})
    left_out = {name for name, value in own.items() if value is None and (family, name) not in NONE_IS_MEANT}
    sizes = {name: value for name, value in (SIZES | own | changes).items() if name not in left_out}
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
    model_type = MODEL_TYPES.get(family, f"{family}_text" if f"{family}_text" in known else family)
    return AutoConfig.for_model(model_type, **sizes)


def tiny_family(family: str, *, seed: int = 0, std: float = 0.2, **changes: Any) -> Any:
    """A model in evaluation mode: weights from N(0, std), biases of rankings uniform in ±0.3, tables of ids random."""
    config = tiny_config(family, **changes)
    torch.manual_seed(seed)
    if family in CLASSES:
        module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
        model = getattr(module, CLASSES[family])(config)
    else:
        model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=std)
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith(_BIASES):
                tensor.uniform_(-BIAS, BIAS)
            elif name.endswith("tid2eid"):
                tensor.copy_(torch.rand(len(tensor), EXPERTS).argsort(dim=-1)[:, : tensor.shape[1]])
    return model.eval()


def output_of(model: Any, **options: Any) -> torch.Tensor:
    """(B, S, V), a model's logits of `IDS`, or (B, S, D) of one without a head."""
    if model.config.is_encoder_decoder:
        options["decoder_input_ids"] = IDS
    output = model(IDS, **options)
    return output.logits if "logits" in output else output.last_hidden_state
