"""The MoE layer against the per-token float64 reference.

Axes: T tokens, D hidden size, M intermediate size, E experts, K experts per token.
"""

import pytest
import torch
from torch import nn

from routers import FeedForwardExperts, MoELayer, TokenChoice, get_router_class, list_selection_rules
from routers.reference.check import as_float64, reference_forward

CASES = [
    # T, D, M, E, K, identical tokens
    pytest.param(13, 33, 17, 5, 3, False, id="odd_sizes"),
    pytest.param(16, 32, 16, 8, 2, False, id="even_sizes"),
    pytest.param(9, 16, 8, 4, 1, True, id="one_expert_takes_all"),
    pytest.param(3, 16, 8, 6, 2, True, id="experts_without_a_token"),
    pytest.param(0, 16, 8, 4, 2, False, id="no_token"),
    pytest.param(1, 16, 8, 4, 2, False, id="one_token"),
    pytest.param(1, 16, 8, 4, 1, False, id="one_row"),
    pytest.param(7, 16, 8, 4, 4, False, id="K=E"),
    pytest.param(7, 16, 8, 1, 1, False, id="a_single_expert"),
]


def expect_straight_through(router_name, make_layer):
    """A router that selects no token's experts refuses the option; the others take it."""
    if not get_router_class(router_name).is_token_choice:
        with pytest.raises(ValueError, match="straight_through is True, expected False"):
            make_layer(router_name, straight_through=True)
        pytest.skip("the router selects no token's experts, and refuses the option")


@pytest.fixture
def make_layer(make_router):
    """A layer whose experts' biases are not 0, around a router whose parameters are not at their start."""

    def make(name, hidden_size=16, intermediate_size=8, num_experts=4, top_k=2, **options):
        sizes = {"hidden_size": hidden_size, "num_experts": num_experts, "top_k": top_k}
        router = make_router(name, spread=0.3, **sizes, **options)
        layer = MoELayer(hidden_size, intermediate_size, num_experts, router)
        with torch.no_grad():
            for parameter in layer.experts.parameters():
                parameter += 0.3 * torch.randn_like(parameter)
        return layer

    return make


def gradients(output, upstream, inputs):
    """Of Σ output · upstream, zero where an input is not reached."""
    loss = (output * upstream).sum()
    if not loss.requires_grad:
        return [torch.zeros_like(value) for value in inputs]
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    return [torch.zeros_like(v) if g is None else g for v, g in zip(inputs, found, strict=True)]


@pytest.mark.parametrize(("T", "D", "M", "E", "K", "identical"), CASES)
@pytest.mark.parametrize("norm_topk_prob", [True, False], ids=["renormalised", "raw"])
@pytest.mark.parametrize("straight_through", [False, True], ids=["hard", "straight_through"])
def test_values_and_gradients_equal_the_reference(
    router_name, T, D, M, E, K, identical, norm_topk_prob, straight_through, make_layer, random_tokens
):
    if straight_through:
        expect_straight_through(router_name, make_layer)
    layer = make_layer(router_name, D, M, E, K, norm_topk_prob=norm_topk_prob, straight_through=straight_through)
    tokens = random_tokens(1, D).repeat(T, 1) if identical else random_tokens(T, D)
    upstream = random_tokens(T, D, seed=1)

    exact = as_float64(layer)
    exact_tokens = tokens.double().requires_grad_()
    expected = reference_forward(exact, exact_tokens)
    inputs = [exact_tokens, *exact.parameters()]
    expected_gradients = gradients(expected, upstream.double(), inputs)

    output = exact(exact_tokens)
    torch.testing.assert_close(output, expected, atol=1e-10, rtol=1e-10)
    in_float64 = gradients(output, upstream.double(), inputs)
    torch.testing.assert_close(in_float64, expected_gradients, atol=1e-10, rtol=1e-10)

    tokens.requires_grad_()
    output, routing = layer.forward_with_routing(tokens)
    if identical and isinstance(routing, TokenChoice):
        assert routing.tokens_per_expert.count_nonzero() == routing.selected_experts.shape[1]
    torch.testing.assert_close(output.double(), expected, atol=1e-5, rtol=1e-4)
    for found, wanted in zip(
        gradients(output, upstream, [tokens, *layer.parameters()]), expected_gradients, strict=True
    ):
        scale = float(wanted.abs().max()) if wanted.numel() else 0.0
        torch.testing.assert_close(found.double(), wanted, atol=1e-5 + 1e-4 * scale, rtol=0)


@pytest.mark.parametrize("straight_through", [False, True], ids=["hard", "straight_through"])
@pytest.mark.parametrize("rule", list_selection_rules())
def test_with_any_selection_rule_values_and_gradients_equal_the_reference(
    rule, straight_through, make_layer, random_tokens
):
    layer = make_layer("linear", num_experts=16, top_k=4, selection=rule, straight_through=straight_through)
    if layer.router.selection_bias is not None:
        layer.router.selection_bias.normal_(std=0.3)
    exact = as_float64(layer)
    tokens = random_tokens(4, 16, dtype=torch.float64).requires_grad_()
    upstream, inputs = random_tokens(4, 16, dtype=torch.float64, seed=1), [tokens, *exact.parameters()]
    output, expected = exact(tokens), reference_forward(exact, tokens)
    torch.testing.assert_close(output, expected, atol=1e-10, rtol=1e-10)
    found, wanted = gradients(output, upstream, inputs), gradients(expected, upstream, inputs)
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_float32_router_in_a_low_precision_model(router_name, dtype, make_layer, random_tokens):
    # tokens and experts are exact in the low precision, so both layers route alike and differ by rounding alone
    layer = make_layer(router_name)
    tokens = random_tokens(20, 16, dtype=dtype)
    layer.experts.to(dtype)
    output = layer(tokens)
    assert output.dtype == dtype
    layer.experts.float()
    expected = layer(tokens.float())
    rounding = 8 * torch.finfo(dtype).eps * float(expected.detach().abs().max())
    torch.testing.assert_close(output.float(), expected, atol=rounding, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_keeps_shape_and_dtype(router_name, dtype, make_layer, random_tokens):
    layer = make_layer(router_name).to(dtype)
    for shape in ((6, 16), (2, 3, 16), (1, 1, 16), (2, 0, 16)):
        output = layer(random_tokens(*shape, dtype=dtype))
        assert output.shape == shape
        assert output.dtype == dtype
        assert bool(torch.isfinite(output).all())


def test_padding_goes_to_no_expert_and_comes_out_as_zero(router_name, make_layer, random_tokens):
    layer, tokens, mask = make_layer(router_name), random_tokens(24, 16), torch.arange(24) % 3 == 1
    expected, without = layer.forward_with_routing(tokens[mask])
    try:
        output, routing = layer.forward_with_routing(tokens.masked_fill(~mask.unsqueeze(1), 9.0), mask=mask)
    except TypeError as error:
        if "mask" in str(error):
            pytest.skip(f"{router_name} takes no mask, and says so")
        raise
    torch.testing.assert_close(output[mask], expected, atol=1e-5, rtol=1e-4)
    assert not output[~mask].any()
    assert torch.equal(routing.tokens_per_expert, without.tokens_per_expert)
    assert torch.equal(routing.unserved_tokens, without.unserved_tokens)
    assert len(routing.dispatch(tokens)[0]) == int(routing.tokens_per_expert.sum())


def test_a_batch_of_sequences_equals_its_tokens(router_name, make_layer, random_tokens, decided):
    layer, tokens = make_layer(router_name), random_tokens(2, 5, 16)
    rows = tokens.flatten(0, 1)
    counts = decided(layer.router, rows).view(2, 5)
    expected = layer(tokens)[counts]
    # equal but for float32's rounding, which may differ with the shape of a matrix product and the order of its rows
    torch.testing.assert_close(layer(rows).view_as(tokens)[counts], expected)
    torch.testing.assert_close(layer(tokens.transpose(0, 1)).transpose(0, 1)[counts], expected)


@pytest.mark.parametrize("straight_through", [False, True])
def test_straight_through_alone_teaches_unselected_experts(router_name, straight_through, make_layer, random_tokens):
    if straight_through:
        expect_straight_through(router_name, make_layer)
    layer = make_layer(router_name, num_experts=6, top_k=1, straight_through=straight_through)
    output, routing = layer.forward_with_routing(random_tokens(2, 16))
    output.sum().backward()
    selected = routing.tokens_per_expert > 0
    learns = layer.experts.down_weight.grad.flatten(1).any(dim=1)
    # an expert of probability 0 has no gradient to be given: hash, and the self-supervised mask
    expected = (routing.router_probs > 0).any(dim=0) if straight_through else selected
    assert torch.equal(learns, expected)


def test_straight_through_has_the_value_of_hard_routing(router_name, make_layer, random_tokens):
    tokens = random_tokens(20, 16)
    expect_straight_through(router_name, make_layer)
    hard, soft = (make_layer(router_name, straight_through=choice)(tokens) for choice in (False, True))
    torch.testing.assert_close(soft, hard)


def test_makes_a_router_by_name_with_its_options():
    layer = MoELayer(16, 8, 4, "attention", top_k=3, query_size=5, norm_topk_prob=False)
    assert (layer.router.top_k, layer.router.query_size, layer.router.norm_topk_prob) == (3, 5, False)
    assert MoELayer(16, 8, 4, "linear").router.top_k == 2


def test_passes_side_inputs_to_the_router(random_tokens):
    layer, ids = MoELayer(16, 8, 4, "hash"), torch.arange(6).view(2, 3)
    _, routing = layer.forward_with_routing(random_tokens(2, 3, 16), token_ids=ids)
    assert torch.equal(routing.selected_experts[:, 0], layer.router.assign(torch.zeros(6, 16), ids))


@pytest.mark.parametrize(
    ("sizes", "named"),
    [({"hidden_size": 17}, "hidden_size 17 and 4 experts"), ({"num_experts": 5}, "hidden_size 16 and 5 experts")],
)
def test_refuses_a_router_of_other_sizes(sizes, named, make_router):
    router = make_router("linear", **({"hidden_size": 16, "num_experts": 4} | sizes))
    with pytest.raises(ValueError, match=f"{named}, expected 16 and 4"):
        MoELayer(16, 8, 4, router)


def test_refuses_options_for_a_router_that_is_made(make_router):
    router = make_router("linear", hidden_size=16, num_experts=4)
    with pytest.raises(ValueError, match="'bias', 'norm_topk_prob'"):
        MoELayer(16, 8, 4, router, norm_topk_prob=False, bias=True)


def test_refuses_another_k_than_that_of_a_router_that_is_made(make_router):
    router = make_router("linear", hidden_size=16, num_experts=4, top_k=1)
    with pytest.raises(ValueError, match="top_k is 4, the router that is already made has 1"):
        MoELayer(16, 8, 4, router, top_k=4)
    assert MoELayer(16, 8, 4, router, top_k=1).router.top_k == 1
    assert MoELayer(16, 8, 4, router).router.top_k == 1


@pytest.mark.parametrize("num_experts", [4, 16])
def test_refuses_experts_of_other_sizes(num_experts):
    with pytest.raises(ValueError, match=f"the experts have num_experts {num_experts}, expected 8"):
        MoELayer(16, 8, 8, "linear", experts=FeedForwardExperts(num_experts, 16, 8))
    with pytest.raises(ValueError, match="the experts have hidden_size 12, expected 16"):
        MoELayer(16, 8, num_experts, "linear", experts=FeedForwardExperts(num_experts, 12, 8))


def test_refuses_a_keyword_that_its_router_does_not_know(random_tokens):
    with pytest.raises(TypeError, match="attention_mask"):
        MoELayer(16, 8, 4, "linear")(random_tokens(3, 16), attention_mask=torch.ones(3))


def test_refuses_a_state_of_another_k():
    one, two = (MoELayer(16, 8, 4, "linear", top_k=top_k) for top_k in (1, 2))
    with pytest.raises(RuntimeError, match=r"router\.top_k is 1, its state was saved with 2"):
        one.load_state_dict(two.state_dict())


def test_under_autocast_experts_multiply_in_less_and_the_router_does_not(random_tokens):
    layer, tokens = MoELayer(16, 8, 4, "linear"), random_tokens(40, 16)
    _, expected = layer.forward_with_routing(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        output, routing = layer.forward_with_routing(tokens)
    assert torch.equal(routing.routing_weights, expected.routing_weights)
    assert output.dtype == torch.bfloat16


def test_takes_another_bank_of_experts(make_router, random_tokens):
    class Scale(nn.Module):
        """Expert e multiplies by e + 1."""

        def forward(self, expert_inputs, expert_index):
            return expert_inputs * (expert_index + 1)[:, None]

    layer = MoELayer(16, 8, 4, make_router("linear", hidden_size=16, num_experts=4), experts=Scale())
    tokens = random_tokens(2, 3, 16)
    output, routing = layer.forward_with_routing(tokens)
    factor = ((routing.selected_experts + 1) * routing.routing_weights).sum(dim=1)
    torch.testing.assert_close(output, tokens * factor.view(2, 3, 1))


def test_experts_by_hand():
    # 1 feature, 1 hidden unit, ReLU: expert 0: 3 · relu(2 x + 1) + 5; expert 1: −relu(−x)
    experts = FeedForwardExperts(2, 1, 1, activation=torch.relu)
    values = {"up_weight": [2, -1], "up_bias": [1, 0], "down_weight": [3, -1], "down_bias": [5, 0]}
    for name, (first, second) in values.items():
        parameter = getattr(experts, name)
        with torch.no_grad():
            parameter.copy_(torch.tensor([first, second]).float().view(2, *[1] * (parameter.dim() - 1)))
    rows = torch.tensor([[1.0], [-1.0], [4.0], [-2.0]])
    assert experts(rows, torch.tensor([0, 0, 1, 1])).flatten().tolist() == [14, 5, 0, -2]


def test_experts_have_the_parameters_of_berts_feed_forward_each():
    count = sum(parameter.numel() for parameter in FeedForwardExperts(8, 768, 3072).parameters())
    assert count == 8 * (768 * 3072 + 3072 + 3072 * 768 + 768)
