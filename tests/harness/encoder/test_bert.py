from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertModel, MPNetConfig, MPNetModel, PreTrainedModel

from harness.encoder.bert import experts_from_feed_forward, feed_forward, inject_moe_layer, list_expert_kinds
from harness.encoder.embeddings import Encoder, contextual_embeddings, feed_forward_inputs, token_batch
from routers import MoELayer, Router, list_routers

D, NEURONS, E = 16, 24, 4
SIZES = {
    "hidden_size": D,
    "intermediate_size": NEURONS,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "max_position_embeddings": 32,
}


class EqualWeights(Router):
    """Every expert with the same weight: what partitioned experts need to be the original."""

    def __init__(self, hidden_size: int, num_experts: int) -> None:
        super().__init__(hidden_size, num_experts, top_k=num_experts, norm_topk_prob=True)

    def compute_router_probabilities(self, hidden_states: Tensor) -> Tensor:
        return torch.full((*hidden_states.shape[:-1], self.num_experts), 1 / self.num_experts)


def bert(hidden_act: str = "gelu") -> PreTrainedModel:
    return BertModel(BertConfig(**SIZES, hidden_act=hidden_act))


def mpnet(hidden_act: str = "gelu") -> PreTrainedModel:
    return MPNetModel(MPNetConfig(**SIZES, hidden_act=hidden_act))


def masked_lm(hidden_act: str = "gelu") -> PreTrainedModel:
    return BertForMaskedLM(BertConfig(**SIZES, hidden_act=hidden_act))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=[bert, mpnet, masked_lm])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    tiny: PreTrainedModel = request.param().eval()
    for parameter in tiny.parameters():  # the stock 0.02 would make every output nearly its bias
        torch.nn.init.normal_(parameter, std=0.3)
    return tiny


def moe_layer(model: PreTrainedModel, kind: str, router: Router | str, **options: object) -> MoELayer:
    experts = experts_from_feed_forward(model, E, kind)
    return MoELayer(D, experts.intermediate_size, E, router, experts=experts, **options)


def output_of(model: PreTrainedModel, token_ids: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = model(input_ids=token_ids)[0]
    return output


def test_feed_forward_is_what_the_layer_adds_to_its_residual(model: PreTrainedModel) -> None:
    layer = model.base_model.encoder.layer[1]
    x = torch.randn(3, 5, D)
    torch.testing.assert_close(
        layer.output.LayerNorm(feed_forward(model, 1)(x) + x), layer.output(layer.intermediate(x), x)
    )


@pytest.mark.parametrize("router", list_routers())
def test_copied_experts_with_renormalised_weights_are_the_feed_forward(encoder: Encoder, router: str) -> None:
    # Whatever the router does: the reason why other kinds of experts exist.
    experts = experts_from_feed_forward(encoder.model, 8, "copied")
    layer = MoELayer(384, 1536, 8, router, experts=experts, norm_topk_prob=True)
    x = torch.randn(20, 384)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), feed_forward(encoder.model)(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["copied", "partitioned"])
def test_all_experts_with_equal_weights_are_the_feed_forward(model: PreTrainedModel, kind: str) -> None:
    layer = moe_layer(model, kind, EqualWeights(D, E))
    x = torch.randn(2, 7, D)
    torch.testing.assert_close(layer(x), feed_forward(model)(x))


@pytest.mark.parametrize("kind", ["noisy", "partitioned"])
def test_experts_that_differ_show_what_the_router_does(model: PreTrainedModel, kind: str) -> None:
    layer = moe_layer(model, kind, "linear", norm_topk_prob=True)
    x = torch.randn(30, D)
    before = layer(x)
    with torch.no_grad():
        for parameter in layer.router.parameters():
            parameter.normal_()
    assert not torch.allclose(layer(x), before)


def test_copied_experts_are_copies_that_can_be_trained(model: PreTrainedModel) -> None:
    network = feed_forward(model.requires_grad_(False))
    experts = experts_from_feed_forward(model, E, "copied")
    for expert in range(E):
        assert torch.equal(experts.up_weight[expert], network.up.weight)
        assert torch.equal(experts.up_bias[expert], network.up.bias)
        assert torch.equal(experts.down_weight[expert], network.down.weight)
        assert torch.equal(experts.down_bias[expert], network.down.bias)
    assert all(parameter.requires_grad for parameter in experts.parameters())
    original = network.up.weight.clone()
    with torch.no_grad():
        experts.up_weight.zero_()
    assert torch.equal(network.up.weight, original)


def test_partition_gives_every_neuron_to_one_expert(model: PreTrainedModel) -> None:
    network = feed_forward(model)
    experts = experts_from_feed_forward(model, E, "partitioned")
    assert experts.intermediate_size == NEURONS // E
    # E experts of I / E neurons, as sets: the neurons of the network, each once, with its own way out times E.
    neurons = torch.cat([experts.up_weight, experts.up_bias[..., None], experts.down_weight.mT / E], dim=-1).flatten(
        0, 1
    )
    expected = torch.cat([network.up.weight, network.up.bias[:, None], network.down.weight.T], dim=-1)
    torch.testing.assert_close(neurons[neurons[:, 0].argsort()], expected[expected[:, 0].argsort()])


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
def test_noise_is_measured_in_each_parameters_own_deviation(encoder: Encoder, noise: float) -> None:
    network = feed_forward(encoder.model)
    experts = experts_from_feed_forward(encoder.model, 2, "noisy", noise=noise)
    difference = experts.up_weight.detach() - network.up.weight
    assert float(difference.std() / network.up.weight.std()) == pytest.approx(noise, rel=0.01)


@pytest.mark.parametrize("kind", list_expert_kinds())
def test_a_seed_decides_the_experts_and_leaves_the_global_generator_alone(model: PreTrainedModel, kind: str) -> None:
    state = torch.get_rng_state()
    first, again, other = (experts_from_feed_forward(model, E, kind, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.up_weight, again.up_weight)
    assert torch.equal(first.up_weight, other.up_weight) == (kind == "copied")


@pytest.mark.parametrize("hidden_act", ["gelu", "relu", "gelu_new"])
def test_activation_is_the_models_own(hidden_act: str) -> None:
    model = bert(hidden_act)
    layer = moe_layer(model, "copied", EqualWeights(D, E))
    x = 5 * torch.randn(6, D)
    torch.testing.assert_close(layer(x), feed_forward(model)(x))


def test_injected_copies_change_nothing_and_restoring_is_exact(encoder: Encoder, shakespeare: str) -> None:
    ids = token_batch(encoder, shakespeare, batch_size=2, sequence_length=16, seed=0)
    before = contextual_embeddings(encoder, ids)
    copies = MoELayer(
        384, 1536, 8, "linear", experts=experts_from_feed_forward(encoder.model, 8, "copied"), norm_topk_prob=True
    )
    with inject_moe_layer(encoder.model, copies):
        torch.testing.assert_close(contextual_embeddings(encoder, ids), before, rtol=1e-3, atol=1e-4)
    assert torch.equal(contextual_embeddings(encoder, ids), before)


@pytest.mark.parametrize("layer", [0, 1])
def test_injection_takes_effect_and_restoring_is_exact(model: PreTrainedModel, layer: int) -> None:
    ids = torch.randint(5, 50, (2, 9))
    before, keys = output_of(model, ids), list(model.state_dict())
    injection = inject_moe_layer(model, moe_layer(model, "partitioned", "mlp"), layer)
    assert not torch.allclose(output_of(model, ids), before)
    injection.restore()
    injection.restore()
    assert torch.equal(output_of(model, ids), before)
    assert list(model.state_dict()) == keys


def test_the_original_returns_after_an_error(model: PreTrainedModel) -> None:
    ids = torch.randint(5, 50, (2, 9))
    before = output_of(model, ids)
    with pytest.raises(RuntimeError, match="boom"), inject_moe_layer(model, moe_layer(model, "noisy", "linear")):
        raise RuntimeError("boom")
    assert torch.equal(output_of(model, ids), before)


def test_the_injected_router_sees_the_feed_forwards_inputs(encoder: Encoder, shakespeare: str) -> None:
    ids = token_batch(encoder, shakespeare, batch_size=2, sequence_length=8, seed=0)
    expected = feed_forward_inputs(encoder, ids)
    layer = MoELayer(384, 64, 4, "linear")
    seen: list[Tensor] = []
    layer.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with inject_moe_layer(encoder.model, layer):
        contextual_embeddings(encoder, ids)
        assert torch.equal(feed_forward_inputs(encoder, ids), expected)
    assert torch.equal(seen[0].flatten(0, 1), expected)


def test_gradients_reach_the_injected_router() -> None:
    model = bert().train()
    layer = moe_layer(model, "partitioned", "linear")
    with inject_moe_layer(model, layer):
        model(input_ids=torch.randint(5, 50, (2, 9))).last_hidden_state.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in layer.router.parameters())


def test_dropout_of_the_layer_stays() -> None:
    model = bert().train()
    with inject_moe_layer(model, moe_layer(model, "copied", "linear")):
        assert model.encoder.layer[0].output.dropout.p == 0.1
        ids = torch.randint(5, 50, (2, 9))
        assert not torch.equal(output_of(model, ids), output_of(model, ids))


def test_mistakes_are_named(model: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="hidden_size 8, expected 16"):
        inject_moe_layer(model, MoELayer(8, NEURONS, E, "linear"))
    with pytest.raises(ValueError, match="between 0 and 1, got 2"):
        inject_moe_layer(model, MoELayer(D, NEURONS, E, "linear"), layer=2)
    with pytest.raises(ValueError, match="between 0 and 1, got -1"):
        feed_forward(model, -1)
    with pytest.raises(ValueError, match="unknown kind of experts 'cloned'; there are copied, noisy, partitioned"):
        experts_from_feed_forward(model, E, "cloned")
    with pytest.raises(ValueError, match="24 neurons cannot be partitioned evenly among 5 experts"):
        experts_from_feed_forward(model, 5, "partitioned")
    with pytest.raises(ValueError, match=r"got 0 and 0\.1"):
        experts_from_feed_forward(model, 0, "copied")
    with pytest.raises(ValueError, match="got 4 and -1"):
        experts_from_feed_forward(model, E, "noisy", noise=-1)


def test_a_layer_is_not_injected_twice(model: PreTrainedModel) -> None:
    layer = moe_layer(model, "copied", "linear")
    with inject_moe_layer(model, layer), pytest.raises(ValueError, match=r"layer 0 holds no feed-forward .* MoELayer"):
        inject_moe_layer(model, layer)


def test_what_stands_around_the_moe_layer_goes_with_it(model: PreTrainedModel) -> None:
    ids = torch.arange(6)[None]
    before = output_of(model, ids)
    injection = inject_moe_layer(model, MoELayer(D, NEURONS, E, "linear"))
    block = model.base_model.encoder.layer[0]
    block.intermediate = torch.nn.Sequential(injection.moe_layer)
    injection.restore()
    injection.restore()
    assert torch.equal(output_of(model, ids), before)
    block.intermediate = torch.nn.Identity()
    with pytest.raises(ValueError, match="the feed-forward network is not back, a Identity is in its place"):
        injection.restore()
