"""Tiny language models with random weights, of every family: they show the wiring and nothing else.

Another family needs its own sizes here, beside its statement in `harness/replacement/families.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

HIDDEN, EXPERTS, TOP_K, LAYERS = 32, 4, 2, 2
SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "moe_intermediate_size": 16,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_experts_per_tok": TOP_K,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""What all families call by one name; a family ignores what it does not have."""

OWN_SIZES: dict[str, dict[str, Any]] = {}
OWN_SIZES["qwen2_moe"] = {"num_experts": EXPERTS, "shared_expert_intermediate_size": 24, "decoder_sparse_step": 1}
OWN_SIZES["qwen3_moe"] = {"num_experts": EXPERTS, "decoder_sparse_step": 1}
OWN_SIZES["mixtral"] = {"num_local_experts": EXPERTS}
OWN_SIZES["olmoe"] = {"num_experts": EXPERTS}
OWN_SIZES["gpt_oss"] = {"num_local_experts": EXPERTS}
OWN_SIZES["deepseek_v3"] = {
    "n_routed_experts": EXPERTS,
    "n_shared_experts": 1,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 0,
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}

IDS = torch.tensor([[5, 9, 3, 7, 11, 8], [4, 4, 6, 10, 12, 3]])
"""(B, S), two sequences without padding."""


def tiny_config(family: str = "qwen2_moe", **changes: Any) -> Any:
    """The configuration of a tiny model of a family."""
    return AutoConfig.for_model(family, **(SIZES | OWN_SIZES[family] | changes))


def tiny_model(family: str = "qwen2_moe", *, seed: int = 0, std: float = 0.2, **changes: Any) -> Any:
    """A model in evaluation mode, every weight drawn from N(0, std): some families leave theirs as allocated."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(family, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=std)
    return model.eval()


@torch.no_grad()
def logits_of(model: Any, **options: Any) -> torch.Tensor:
    """(B, S, V), the model's logits of `IDS`."""
    return model(IDS, **options).logits
