"""Forms of experts, and what every token goes through beside them. Axes: N rows, T tokens, D, I, E experts."""

import pytest
import torch
from torch.autograd import gradcheck

from routers import FeedForwardExperts, GatedExperts, MoELayer, SharedExperts, create_experts
from routers.layer.experts import EXPERTS
from routers.layer.grouped_linear import grouped_linear
from routers.reference.check import as_float64, reference_expert, reference_forward

D, I, E = 6, 5, 4  # noqa: E741  # the intermediate size


def set_to(parameter, values):
    with torch.no_grad():
        parameter.copy_(torch.tensor(values, dtype=torch.float32).view_as(parameter))


def test_a_gated_expert_by_hand():
    # 1 feature, 1 hidden unit, the gate's activation ReLU: expert 0: 3 · relu(2 x) · x; expert 1: −relu(−x) · 4 x
    experts = GatedExperts(2, 1, 1, activation=torch.relu)
    set_to(experts.gate_weight, [2, -1])
    set_to(experts.up_weight, [1, 4])
    set_to(experts.down_weight, [3, -1])
    rows = torch.tensor([[1.0], [-1.0], [4.0], [-2.0]])
    # 3 · 2 · 1; 0; 0; −2 · (4 · −2)
    assert experts(rows, torch.tensor([0, 0, 1, 1])).flatten().tolist() == [6, 0, 0, 16]


def test_gated_experts_have_three_maps_each():
    assert sum(p.numel() for p in GatedExperts(8, 64, 96).parameters()) == 8 * 3 * 64 * 96
    assert list(GatedExperts(1, 2, 2).state_dict()) == ["gate_weight", "up_weight", "down_weight"]


@pytest.mark.parametrize("kind", EXPERTS)
def test_a_layer_of_each_form_equals_the_reference(kind, make_router, random_tokens):
    router = make_router("linear", hidden_size=D, num_experts=E, spread=0.3)
    torch.manual_seed(0)
    layer = as_float64(MoELayer(D, I, E, router, experts=kind))
    tokens = random_tokens(9, D, dtype=torch.float64)
    torch.testing.assert_close(layer(tokens), reference_forward(layer, tokens), atol=1e-12, rtol=0)
    # one row, and no row
    for rows in (tokens[:1], tokens[:0]):
        index = torch.ones(len(rows), dtype=torch.int64)
        expected = [reference_expert(layer.experts, 1, row) for row in rows]
        assert layer.experts(rows, index).shape == rows.shape
        for row, wanted in zip(layer.experts(rows, index), expected, strict=True):
            torch.testing.assert_close(row, wanted)


def test_an_unknown_form_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="unknown experts 'relu'; there are: gelu, swiglu"):
        MoELayer(D, I, E, "linear", experts="relu")
    assert isinstance(create_experts("gelu", E, D, I), FeedForwardExperts)


@pytest.mark.parametrize("gate", [False, True])
def test_shared_experts_are_added_for_every_token(gate, make_router, random_tokens):
    router = make_router("linear", hidden_size=D, num_experts=E, spread=0.3)
    layer = MoELayer(
        D, I, E, router, experts="swiglu", capacity_factor=0.25, shared_intermediate_size=7, shared_gate=gate
    ).double()
    tokens = random_tokens(16, D, dtype=torch.float64)
    mask = torch.arange(16) % 4 > 0
    output, routing = layer.forward_with_routing(tokens, mask=mask)
    chosen = routing.combine(layer.experts(*routing.dispatch(tokens)))
    for t in range(16):
        shared = reference_expert(layer.shared_experts.experts, 0, tokens[t])
        if gate:
            shared = shared / (1 + torch.exp(-(layer.shared_experts.gate.weight[0] @ tokens[t])))
        torch.testing.assert_close(output[t], (chosen[t] + shared) * mask[t], atol=1e-12, rtol=0)
    assert int(routing.unserved_tokens) > 0  # which have the shared experts nevertheless


def test_shared_experts_have_the_parameters_of_a_network_and_a_gate():
    count = sum(p.numel() for p in SharedExperts(16, 24, gate=True).parameters())
    assert count == 3 * 16 * 24 + 16


def test_shared_experts_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="shared_gate is True without shared experts"):
        MoELayer(D, I, E, "linear", shared_gate=True)
    with pytest.raises(ValueError, match="shared_intermediate_size is 0, expected at least 1"):
        MoELayer(D, I, E, "linear", shared_intermediate_size=0)


def test_a_grouped_product_and_its_gradients(random_tokens):
    index = torch.tensor([0, 0, 2, 2, 2])  # expert 1 has no row
    rows, weight = random_tokens(5, 3, dtype=torch.float64), random_tokens(3, 2, 3, seed=1, dtype=torch.float64)
    expected = torch.stack([weight[e] @ row for e, row in zip(index, rows, strict=True)])
    torch.testing.assert_close(grouped_linear(rows, weight, index), expected)
    inputs = (rows.requires_grad_(), weight.requires_grad_())
    assert gradcheck(lambda x, w: grouped_linear(x, w, index), inputs)
    (gradient,) = torch.autograd.grad(grouped_linear(*inputs, index).sum(), weight)
    assert not gradient[1].any()
    with torch.autocast("cpu", torch.bfloat16):
        assert grouped_linear(rows.float(), weight.float(), index).dtype == torch.bfloat16
