"""Padding: it goes to no expert, comes out as 0, and counts in nothing. Axes: B, S, T tokens, D, E experts, K."""

import pytest
import torch

from routers import FeedForwardExperts, MoELayer, TokenChoice, create_router, losses
from routers.metric import METRICS, Observed
from routers.routing.mask import flat_mask, masked_mean

T, D, E = 16, 16, 8
KINDS = ["linear", "hybrid", "hash"]  # by logits, by probabilities, and one that selects by itself


@pytest.fixture(scope="module")
def padded():
    """Tokens (4T, D) of which every fourth counts, the mask (4T,), and the tokens that count (T, D)."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(4 * T, D, generator=generator)
    mask = torch.arange(4 * T) % 4 == 1
    tokens[~mask] = tokens[0].clone()  # as padding is: the same everywhere, and all of it to the same experts
    return tokens, mask, tokens[mask]


@pytest.fixture
def make_layer(make_router):
    def make(name, **options):
        router = make_router(name, hidden_size=D, num_experts=E, spread=0.3, **options)
        return MoELayer(D, 8, E, router, experts=FeedForwardExperts(E, D, 8))

    return make


@pytest.mark.parametrize("straight_through", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_the_layer_with_padding_is_the_layer_without(name, straight_through, padded, make_layer, random_tokens):
    tokens, mask, counted = padded
    layer = make_layer(name, straight_through=straight_through)
    upstream = random_tokens(4 * T, D, seed=1)
    expected, without = layer.forward_with_routing(counted)
    (expected * upstream[mask]).sum().backward()
    gradients = {name: parameter.grad for name, parameter in layer.named_parameters()}
    layer.zero_grad()
    output, routing = layer.forward_with_routing(tokens, mask=mask)
    (output * upstream).sum().backward()
    torch.testing.assert_close(output[mask], expected)
    assert not output[~mask].any()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name])
    assert torch.equal(routing.tokens_per_expert, without.tokens_per_expert)
    rows, expert_index = routing.dispatch(tokens)
    expected_rows, expected_index = without.dispatch(counted)
    assert torch.equal(rows, expected_rows)
    assert torch.equal(expert_index, expected_index)
    assert not routing.routing_weights[~mask].any()
    assert int(routing.unserved_tokens) == int(without.unserved_tokens) == 0


@pytest.mark.parametrize("name", KINDS)
def test_three_quarters_of_padding_change_no_metric(name, padded, make_layer):
    tokens, mask, counted = padded
    layer = make_layer(name)
    with torch.no_grad():
        output, routing = layer.forward_with_routing(tokens, mask=mask)
        expected_output, expected = layer.forward_with_routing(counted)
        without_mask = layer.router(tokens)
    seen, plain = Observed(routing, output), Observed(expected, expected_output)
    for record in METRICS.values():
        torch.testing.assert_close(record.measure(seen), record.measure(plain), equal_nan=True, msg=record.name)
    # what it would be otherwise: padding is one token, again and again
    cv = METRICS["cv"].measure
    assert cv(Observed(without_mask, output)) > cv(seen) + 0.5


@pytest.mark.parametrize(
    "loss",
    [
        losses.load_balancing_loss,
        losses.importance_squared_loss,
        losses.switch_loss,
        losses.switch_loss_per_token,
    ],
)
def test_three_quarters_of_padding_change_no_loss(loss, padded, random_tokens):
    tokens, mask, _ = padded
    probs = torch.softmax(tokens[:, :E], dim=-1).requires_grad_()
    selected = probs.topk(2).indices
    masked, expected = loss(probs, selected, mask=mask), loss(probs[mask], selected[mask])
    torch.testing.assert_close(masked, expected)
    of_masked, of_expected = (torch.autograd.grad(value, probs)[0] for value in (masked, expected))
    torch.testing.assert_close(of_masked, of_expected)
    assert loss(probs, selected, mask=torch.zeros(4 * T, dtype=torch.bool)).item() == 0


def test_padding_of_a_loss_by_hand():
    # f of tokens 0 and 2: (1, 1)/2; P = ((0.9 + 0.3)/2, (0.1 + 0.7)/2) = (0.6, 0.4): 0.01 · (0.3 + 0.2)
    probs = torch.tensor([[0.9, 0.1], [torch.nan, torch.nan], [0.3, 0.7]])
    mask = torch.tensor([True, False, True])
    assert float(losses.load_balancing_loss(probs, torch.tensor([[0], [0], [1]]), mask=mask)) == pytest.approx(0.005)
    # logsumexp(0, 0) = ln 2, of the first token alone
    logits = torch.tensor([[0.0, 0.0], [5.0, 5.0]])
    assert float(losses.z_loss(logits, torch.tensor([True, False]))) == pytest.approx(0.480453, rel=1e-5)
    assert masked_mean(torch.tensor([1.0, 3.0, 100.0]), torch.tensor([True, True, False])) == 2


def test_slots_that_are_not_kept_are_no_assignments_by_hand():
    # 3 assignments of 2 tokens that count: f = (1/3, 2/3), P = (0.6, 0.4): 0.01 · (0.6 + 0.8)/3
    probs = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.3, 0.7]])
    selected = torch.tensor([[0, 1], [0, 1], [1, 1]])
    inputs = {
        "mask": torch.tensor([True, False, True]),
        "kept": torch.tensor([[True, True], [True, True], [True, False]]),
    }
    assert float(losses.load_balancing_loss(probs, selected, **inputs)) == pytest.approx(0.014 / 3)
    assert float(losses.switch_loss(probs, selected, **inputs)) == pytest.approx(0.028 / 3)
    assert float(losses.switch_loss_per_token(probs, selected, **inputs)) == pytest.approx(1.5 * 0.028 / 3)
    # 0.01 · 2 · (0.36/3 + 0.16 · 2/3)
    assert float(losses.importance_squared_loss(probs, selected, **inputs)) == pytest.approx(0.02 * 0.68 / 3)


def test_a_batch_of_sequences_has_a_mask_of_its_shape(make_layer, random_tokens):
    layer, tokens = make_layer("linear"), random_tokens(2, 4, D)
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    output = layer(tokens, mask=mask)
    assert not output[~mask].any()
    torch.testing.assert_close(output, layer(tokens, mask=mask.flatten()))
    torch.testing.assert_close(output[mask], layer(tokens[mask]))


def test_what_padding_holds_reaches_nothing(padded, make_layer):
    tokens, mask, counted = padded
    layer = make_layer("linear")
    spoilt = tokens.masked_fill(~mask.unsqueeze(1), torch.nan)
    output = layer(spoilt, mask=mask)
    assert not output[~mask].any()
    torch.testing.assert_close(output[mask], layer(counted))


@pytest.mark.parametrize(
    "mask",
    [torch.zeros(T, dtype=torch.bool), torch.ones(T, dtype=torch.bool), torch.arange(T) == 5],
    ids=["all_is_padding", "nothing_is", "one_token_counts"],
)
@pytest.mark.parametrize("straight_through", [False, True])
def test_masks_at_the_ends_of_their_range(mask, straight_through, make_layer, random_tokens):
    layer, tokens = make_layer("linear", straight_through=straight_through), random_tokens(T, D)
    output, routing = layer.forward_with_routing(tokens, mask=mask)
    torch.testing.assert_close(output, layer(tokens) * mask[:, None])
    assert int(routing.tokens_per_expert.sum()) == 2 * int(mask.sum())


@pytest.mark.parametrize(
    ("mask", "named"),
    [
        (torch.ones(T + 1, dtype=torch.bool), r"mask has shape \(17,\), expected \(4, 4\), one value for each token"),
        (torch.ones(2, 8, dtype=torch.bool), r"mask has shape \(2, 8\), expected \(4, 4\)"),
        (torch.ones(4, 4, 1, dtype=torch.bool), r"mask has shape \(4, 4, 1\)"),
        (torch.ones(4, 4), r"mask is torch.float32, expected torch.bool, True where the token counts"),
        (torch.ones(4, 4, dtype=torch.int64), r"mask is torch.int64, expected torch.bool"),
    ],
)
def test_a_mask_of_other_tokens_is_refused(mask, named, make_layer, random_tokens):
    layer, tokens = make_layer("linear"), random_tokens(4, 4, D)
    for call in (layer, layer.router):
        with pytest.raises(ValueError, match=named):
            call(tokens, mask=mask)


def test_a_loss_refuses_a_mask_of_other_tokens():
    probs = torch.full((3, 4), 0.25)
    with pytest.raises(ValueError, match=r"mask has shape \(2,\), expected \(3,\)"):
        losses.load_balancing_loss(probs, torch.zeros(3, 1, dtype=torch.int64), mask=torch.ones(2, dtype=torch.bool))


def test_a_router_that_does_not_heed_a_mask_is_refused(random_tokens):
    class Deaf(type(create_router("linear", hidden_size=D, num_experts=E, top_k=2))):
        def forward(self, hidden_states, **side_inputs):
            return super().forward(hidden_states)

    layer = MoELayer(D, 8, E, Deaf(hidden_size=D, num_experts=E, top_k=2))
    layer(random_tokens(T, D))
    with pytest.raises(ValueError, match="a mask is given, which Deaf does not heed"):
        layer(random_tokens(T, D), mask=torch.ones(T, dtype=torch.bool))


def test_a_kind_of_routing_on_which_no_mask_can_be_put_says_so():
    class Other(TokenChoice.__mro__[1]):
        tokens_per_expert = dispatch = combine = None

    assert Other(4).masked(None).mask is None
    with pytest.raises(ValueError, match="Other takes no mask"):
        Other(4).masked(torch.ones(2, dtype=torch.bool))


def test_no_mask_is_no_mask():
    assert flat_mask(None, torch.Size((3, 4))) is None


@pytest.mark.parametrize("name", [*KINDS, "soft", "expert_choice"])
def test_what_padding_holds_is_in_no_output_and_in_no_gradient(name, make_layer, random_tokens):
    layer = MoELayer(D, 8, E, make_layer(name).router, shared_intermediate_size=8, shared_gate=True)
    mask = torch.arange(T) % 3 > 0
    found = []
    for padding in (0.0, torch.nan):
        layer.zero_grad()
        output = layer(random_tokens(T, D).where(mask.unsqueeze(1), padding), mask=mask)
        output.square().sum().backward()
        found.append([output.detach(), *(p.grad for p in layer.parameters() if p.grad is not None)])
    torch.testing.assert_close(*found)


def test_masks_that_are_put_on_one_after_the_other_count_together(random_tokens):
    first, second = torch.arange(T) < 9, torch.arange(T) % 2 == 0
    routing = create_router("linear", hidden_size=D, num_experts=E, top_k=2)(random_tokens(T, D), mask=first)
    both = routing.masked(second)
    assert torch.equal(both.mask, first & second)
    assert int(both.unserved_tokens) == 0


def test_a_mask_that_is_no_tensor_is_refused():
    with pytest.raises(ValueError, match=r"mask is a list, expected a tensor of torch\.bool"):
        flat_mask([True], torch.Size((1, 4)))
