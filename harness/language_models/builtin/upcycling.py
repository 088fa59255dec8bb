"""Makes a Mixture-of-Experts language model of a dense one: neurons that fire together become experts.

Nothing is trained by gradients. Layer by layer, on the activations of the model as converted so far, the neurons that
matter most become the shared expert, the others fall into experts, a linear router is fitted to what each expert would
add, and output weights are fitted anew to the dense layer's output under that routing. Copies of one network as experts
would not do: whatever the router, such a model says the same.

Axes: B batch, S sequence, T = B·S tokens, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from harness.language_models.builtin.sparse_layer import Recipe, divide, refit

if TYPE_CHECKING:  # otherwise imported where a model is made: transformers takes three seconds
    from transformers import LlamaForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM

_SAME = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_parameters",
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "dtype",
)
"""The fields that the configurations of Llama and Qwen2-MoE call by one name."""


def sparse_config(dense: LlamaForCausalLM, recipe: Recipe) -> Qwen2MoeConfig:
    """The configuration of the model that the recipe makes of this one.

    Raises:
        ValueError: the recipe does not fit the model; the line names the field.
    """
    from transformers import Qwen2MoeConfig

    config = dense.config
    routed = config.intermediate_size - recipe.shared_neurons
    if recipe.num_experts < 1 or routed < recipe.num_experts or routed % recipe.num_experts:
        raise ValueError(
            f"num_experts is {recipe.num_experts}, which does not divide the {routed} neurons that "
            f"shared_neurons = {recipe.shared_neurons} leaves of {config.intermediate_size}"
        )
    if not 1 <= recipe.top_k <= recipe.num_experts:
        raise ValueError(f"top_k is {recipe.top_k}, expected 1 to num_experts = {recipe.num_experts}")
    if not recipe.layers or not set(recipe.layers) <= set(range(config.num_hidden_layers)):
        raise ValueError(f"layers are {list(recipe.layers)}, expected some of 0 to {config.num_hidden_layers - 1}")
    return Qwen2MoeConfig(
        **{name: getattr(config, name) for name in _SAME},
        qkv_bias=False,  # Llama has none; zeros would be stored, counted and trained for nothing
        mlp_only_layers=[n for n in range(config.num_hidden_layers) if n not in recipe.layers],
        shared_expert_intermediate_size=recipe.shared_neurons,
        moe_intermediate_size=routed // recipe.num_experts,
        num_experts=recipe.num_experts,
        num_experts_per_tok=recipe.top_k,
        norm_topk_prob=True,
    )


@torch.no_grad()
def upcycle(
    dense: LlamaForCausalLM, token_ids: Tensor, recipe: Recipe, *, progress: Callable[[], object] = lambda: None
) -> Qwen2MoeForCausalLM:
    """The sparse model, float32, in evaluation mode.

    One and the same on a machine with the same libraries and number of threads; elsewhere sums are rounded otherwise,
    and a neuron between two groups may fall into the other.

    Args:
        dense: in float32, without biases.
        token_ids: (B, S) int64, what is calibrated on, all at once: some 100 kB of memory a token.
        recipe: what is made.
        progress: called whenever a sparse layer is made.

    Raises:
        ValueError: the recipe does not fit the model.
    """
    from transformers import Qwen2MoeForCausalLM

    config = sparse_config(dense, recipe)
    with torch.random.fork_rng():  # what is drawn here is all overwritten
        model = Qwen2MoeForCausalLM(config)
    model.train(False).requires_grad_(False)
    missing, unexpected = model.load_state_dict(dense.state_dict(), strict=False)
    converted = tuple(f"model.layers.{number}.mlp." for number in recipe.layers)
    if wrong := [name for name in (*missing, *unexpected) if not name.startswith(converted)]:
        raise ValueError(f"{len(wrong)} weights have no place or no source, among them {wrong[0]}")
    handles = [
        model.model.layers[number].mlp.register_forward_pre_hook(
            partial(_make, dense.model.layers[number].mlp, recipe, progress)
        )
        for number in recipe.layers
    ]
    try:
        # One pass: each block is made of what enters it, just before it is used for the first time.
        model.model(input_ids=token_ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return model


def _make(mlp: nn.Module, recipe: Recipe, done: Callable[[], object], block: nn.Module, inputs: tuple[Tensor]) -> None:
    hidden_states = inputs[0].flatten(0, 1)  # (T, D)
    layer = refit(divide(mlp, hidden_states, recipe), mlp, hidden_states, mlp(hidden_states), recipe)
    parameters = layer.parameters(mlp)
    for name, parameter in block.named_parameters():
        parameter.copy_(parameters[name])
    done()
