"""Experts that cost nothing or next to nothing. Axes: N rows, D hidden size, E networks."""

import math

import pytest
import torch

from routers import MoELayer, create_experts
from routers.layer.zero_computation import ZeroComputationExperts

D = 6


@pytest.fixture
def bank():
    torch.manual_seed(0)
    experts = ZeroComputationExperts(create_experts("gelu", 2, D, 5), zeros=1, copies=2, constants=2)
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return experts


def test_each_kind_by_its_definition(bank, random_tokens):
    rows, index = random_tokens(9, D), torch.tensor([0, 0, 1, 2, 3, 4, 5, 6, 6])
    output = bank(rows, index)
    torch.testing.assert_close(output[:3], bank.networks(rows[:3], index[:3]))
    assert not output[3].any()
    assert torch.equal(output[4:6], rows[4:6])
    for row, expert in ((6, 0), (7, 1), (8, 1)):
        logits = [float(weight.detach() @ rows[row]) for weight in bank.share_weight[expert]]
        share = 1 / (1 + math.exp(logits[1] - logits[0]))
        expected = share * rows[row] + (1 - share) * bank.constants[expert]
        torch.testing.assert_close(output[row], expected)


@pytest.mark.parametrize("kinds", [{"zeros": 2}, {"copies": 2}, {"constants": 1, "zeros": 1}])
def test_a_layer_with_them_is_the_same_in_a_graph(kinds, compiler, make_router, random_tokens):
    router = make_router("linear", hidden_size=D, num_experts=4, spread=0.3)
    layer = MoELayer(D, 5, 4, router, experts=ZeroComputationExperts(create_experts("swiglu", 2, D, 5), **kinds))
    tokens = random_tokens(9, D)
    output, routing = layer.forward_with_routing(tokens)
    assert routing.tokens_per_expert[2:].any()
    compiled = torch.compile(layer, fullgraph=True, backend="eager", dynamic=False)
    torch.testing.assert_close(compiled(tokens), output)
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_constants_have_a_vector_and_two_rows():
    networks = create_experts("gelu", 2, D, 5)
    more = ZeroComputationExperts(networks, constants=3)
    assert sum(p.numel() for p in more.parameters()) - sum(p.numel() for p in networks.parameters()) == 3 * 3 * D
    assert more.num_experts == 5


@pytest.mark.parametrize(
    ("kinds", "named"),
    [({}, "zeros, copies and constants are 0, expected at least one"), ({"copies": -1}, "copies is -1, expected at")],
)
def test_numbers_that_cannot_be_are_refused(kinds, named):
    with pytest.raises(ValueError, match=named):
        ZeroComputationExperts(create_experts("gelu", 2, D, 5), **kinds)
