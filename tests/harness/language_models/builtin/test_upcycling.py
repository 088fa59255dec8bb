"""Tiny random Llamas, upcycled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2MoeForCausalLM

from harness.language_models.builtin.sparse_layer import Recipe
from harness.language_models.builtin.upcycling import sparse_config, upcycle
from harness.replacement.injection import replace_routers

RECIPE = Recipe(layers=(1, 2), shared_neurons=8, num_experts=4, top_k=2)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def dense(request: pytest.FixtureRequest) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=4,
        num_attention_heads=3,
        num_key_value_heads=1,
        rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        tie_word_embeddings=request.param,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def token_ids() -> Tensor:
    return torch.randint(50, (20, 16), generator=torch.Generator().manual_seed(0))


def test_with_all_experts_asked_evenly_its_logits_are_the_dense_models(
    dense: LlamaForCausalLM, token_ids: Tensor
) -> None:
    # The refit has nothing to mend then, and every other difference of the two architectures would show.
    sparse = upcycle(dense, token_ids, replace(RECIPE, layers=(0, 1, 2, 3), top_k=4, router_std=0.0))
    torch.testing.assert_close(sparse(token_ids).logits, dense(token_ids).logits, rtol=1e-3, atol=1e-3)


def test_layers_that_stay_dense_keep_every_bit(dense: LlamaForCausalLM, token_ids: Tensor) -> None:
    sparse = upcycle(dense, token_ids, RECIPE).state_dict()
    for name, value in dense.state_dict().items():
        if ".1.mlp." not in name and ".2.mlp." not in name:
            assert torch.equal(sparse[name], value), name


def test_its_configuration_says_what_it_is(dense: LlamaForCausalLM) -> None:
    config = sparse_config(dense, RECIPE)
    assert config.mlp_only_layers == [0, 3]
    assert (config.num_experts, config.num_experts_per_tok, config.norm_topk_prob) == (4, 2, True)
    assert (config.moe_intermediate_size, config.shared_expert_intermediate_size) == (8, 8)
    assert (config.rms_norm_eps, config.rope_parameters["rope_theta"]) == (1e-3, 500.0)
    assert config.tie_word_embeddings == dense.config.tie_word_embeddings
    assert not config.qkv_bias


def test_it_goes_to_disk_and_back(dense: LlamaForCausalLM, token_ids: Tensor, tmp_path: Path) -> None:
    sparse = upcycle(dense, token_ids, RECIPE)
    sparse.save_pretrained(tmp_path)
    loaded, loading = Qwen2MoeForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    state = sparse.state_dict()
    assert loaded.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())
    # Weights that lie elsewhere in memory may be multiplied by another kernel.
    torch.testing.assert_close(loaded.eval()(token_ids).logits, sparse(token_ids).logits)


def test_it_is_the_same_each_time_whatever_was_drawn_before(dense: LlamaForCausalLM, token_ids: Tensor) -> None:
    models = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            before = torch.random.get_rng_state()
            models.append(upcycle(dense, token_ids, RECIPE).state_dict())
            assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(value, models[1][name]) for name, value in models[0].items())


def test_its_answer_depends_on_the_router(dense: LlamaForCausalLM, token_ids: Tensor) -> None:
    # With whole copies as experts it would not.
    sparse = upcycle(dense, token_ids, RECIPE)
    fitted = sparse(token_ids).logits
    with torch.random.fork_rng(), replace_routers(sparse, "linear"):
        torch.manual_seed(0)
        assert (sparse(token_ids).logits - fitted).abs().max() > 0.01
    assert torch.equal(sparse(token_ids).logits, fitted)


def test_the_fitted_routers_beat_random_ones(dense: LlamaForCausalLM, token_ids: Tensor) -> None:
    sparse = upcycle(dense, token_ids, RECIPE)
    target = dense(token_ids).logits
    errors = {}
    for sign in (1, -1):  # turned round, they ask the experts that add least
        for number in RECIPE.layers:
            sparse.model.layers[number].mlp.gate.weight.mul_(sign)
        errors[sign] = float((sparse(token_ids).logits - target).square().mean())
    assert errors[1] < errors[-1]


def test_progress_is_told_layer_by_layer(dense: LlamaForCausalLM, token_ids: Tensor) -> None:
    told: list[None] = []
    upcycle(dense, token_ids, RECIPE, progress=lambda: told.append(None))
    assert len(told) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_experts": 5}, r"num_experts is 5, which does not divide the 32 neurons that shared_neurons = 8"),
        ({"shared_neurons": 40}, r"does not divide the 0 neurons"),
        ({"top_k": 5}, r"top_k is 5, expected 1 to num_experts = 4"),
        ({"layers": (4,)}, r"layers are \[4\], expected some of 0 to 3"),
        ({"layers": ()}, r"layers are \[\]"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(
    dense: LlamaForCausalLM, token_ids: Tensor, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        upcycle(dense, token_ids, replace(RECIPE, **change))


def test_a_model_with_other_weights_is_refused(token_ids: Tensor) -> None:
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=3,
        attention_bias=True,
    )
    with pytest.raises(ValueError, match=r"12 weights have no place or no source, among them .*_proj\.bias"):
        upcycle(LlamaForCausalLM(config), token_ids, RECIPE)
