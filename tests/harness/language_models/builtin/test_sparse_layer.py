"""A tiny dense network, divided: against the real Qwen2-MoE block that its parameters are put into."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import Qwen2MoeConfig
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeMLP, Qwen2MoeSparseMoeBlock

from harness.language_models.builtin.sparse_layer import (
    Recipe,
    SparseLayer,
    divide,
    neuron_activity,
    refit,
    ridge_regression,
)

D, N, M, E, K = 12, 40, 8, 4, 2
RECIPE = Recipe(layers=(0,), shared_neurons=M, num_experts=E, top_k=K)


def config(top_k: int) -> Qwen2MoeConfig:
    return Qwen2MoeConfig(
        hidden_size=D,
        intermediate_size=N,
        moe_intermediate_size=(N - M) // E,
        shared_expert_intermediate_size=M,
        num_experts=E,
        num_experts_per_tok=top_k,
        norm_topk_prob=True,
    )


@pytest.fixture(scope="module")
def mlp() -> Qwen2MoeMLP:
    generator = torch.Generator().manual_seed(0)
    network = Qwen2MoeMLP(config(K)).requires_grad_(False)
    for parameter in network.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    return network


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.randn(600, D, generator=torch.Generator().manual_seed(1))


def run(layer: SparseLayer, mlp: Qwen2MoeMLP, tokens: Tensor) -> Tensor:
    block = Qwen2MoeSparseMoeBlock(config(layer.top_k)).requires_grad_(False)
    block.load_state_dict(layer.parameters(mlp))
    return block(tokens[None])[0]


def test_every_neuron_is_in_exactly_one_place(mlp: Qwen2MoeMLP, tokens: Tensor) -> None:
    layer = divide(mlp, tokens, RECIPE)
    assert (layer.shared.shape, layer.experts.shape) == ((M,), (E, (N - M) // E))
    assert sorted([*layer.shared.tolist(), *layer.experts.flatten().tolist()]) == list(range(N))


def test_the_neurons_of_most_weight_are_shared(mlp: Qwen2MoeMLP, tokens: Tensor) -> None:
    weight = neuron_activity(mlp, tokens).abs().mean(0) * mlp.down_proj.weight.norm(dim=0)
    assert set(divide(mlp, tokens, RECIPE).shared.tolist()) == set(weight.topk(M).indices.tolist())


def test_with_all_experts_asked_evenly_it_is_the_dense_network(mlp: Qwen2MoeMLP, tokens: Tensor) -> None:
    layer = divide(mlp, tokens, replace(RECIPE, top_k=E, router_std=0.0))
    torch.testing.assert_close(run(layer, mlp, tokens), mlp(tokens), rtol=1e-4, atol=1e-5)


def test_the_block_says_what_the_layer_was_fitted_as(mlp: Qwen2MoeMLP, tokens: Tensor) -> None:
    layer = refit(divide(mlp, tokens, RECIPE), mlp, tokens, mlp(tokens), RECIPE)
    expected = (neuron_activity(mlp, tokens) * layer.factors(tokens)) @ layer.output
    torch.testing.assert_close(run(layer, mlp, tokens), expected, rtol=1e-4, atol=1e-5)


def test_factors_are_a_half_and_weights_that_sum_to_one(mlp: Qwen2MoeMLP, tokens: Tensor) -> None:
    layer = divide(mlp, tokens, RECIPE)
    factors = layer.factors(tokens)
    assert torch.all(factors[:, layer.shared] == 0.5)
    weights = factors[:, layer.experts[:, 0]]  # (T, E)
    assert torch.all((weights > 0).sum(1) == K)
    torch.testing.assert_close(weights.sum(1), torch.ones(len(tokens)))


def test_the_routers_logits_have_the_spread_that_is_asked_for(mlp: Qwen2MoeMLP, tokens: Tensor) -> None:
    for spread in (0.1, 1.0):
        router = divide(mlp, tokens, replace(RECIPE, router_std=spread)).router
        assert float((tokens @ router.T).std()) == pytest.approx(spread, rel=1e-5)


def test_the_router_asks_the_experts_that_add_most(mlp: Qwen2MoeMLP, tokens: Tensor) -> None:
    layer = divide(mlp, tokens, RECIPE)
    activity = neuron_activity(mlp, tokens)
    norms = torch.stack([(activity[:, e] @ mlp.down_proj.weight.T[e]).norm(dim=1) for e in layer.experts], 1)
    chosen = (layer.factors(tokens)[:, layer.experts[:, 0]] > 0).float()
    assert (norms * chosen).sum() / K > 1.05 * norms.sum() / E


def test_the_refit_comes_nearer_on_tokens_that_it_has_not_seen(mlp: Qwen2MoeMLP, tokens: Tensor) -> None:
    seen, unseen = tokens[:400], tokens[400:]
    layer = divide(mlp, seen, RECIPE)
    fitted = refit(layer, mlp, seen, mlp(seen), RECIPE)
    before, after = ((run(each, mlp, unseen) - mlp(unseen)).square().mean() for each in (layer, fitted))
    assert after < before
    assert torch.equal(fitted.experts, layer.experts)


def test_a_ridge_beyond_all_measure_changes_nothing(mlp: Qwen2MoeMLP, tokens: Tensor) -> None:
    layer = divide(mlp, tokens, RECIPE)
    held = refit(layer, mlp, tokens, mlp(tokens), replace(RECIPE, ridge=1e12))
    torch.testing.assert_close(held.output, layer.output)


def test_regression_finds_the_weights_that_made_its_targets() -> None:
    features = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]])
    torch.testing.assert_close(ridge_regression(features, features @ weights, 0.0), weights)


def test_a_feature_that_never_fires_has_weight_zero() -> None:
    features = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    # 5 w = 5 without a ridge; its diagonal's mean of 2.5 times 0.4 adds 1: 6 w = 5.
    torch.testing.assert_close(
        ridge_regression(features, torch.tensor([[1.0], [2.0]]), 0.4), torch.tensor([[5 / 6], [0.0]])
    )
