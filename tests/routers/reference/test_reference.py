"""The float64 reference finds a router whose batched path is wrong, and names what is wrong."""

import dataclasses

import pytest
import torch

from routers import FeedForwardExperts, LogitRouter, MoELayer, Router
from routers.reference.check import as_float64, check_router, reference_forward, reference_routing
from routers.reference.routing import ReferenceRouting

D, E, K = 16, 4, 2


class BiasedInBatches(Router):
    """Right for one token, off by 1e-3 at token 5 of a batch."""

    def compute_router_probabilities(self, hidden_states):
        probs = torch.softmax(hidden_states[:, : self.num_experts], dim=-1)
        if len(probs) > 1:
            probs[5] += torch.tensor([1e-3, -1e-3, 0, 0])
        return probs


class FirstLogits(LogitRouter):
    """Logits are a token's first E values."""

    def compute_router_logits(self, hidden_states):
        return hidden_states[:, : self.num_experts]


class SelectsTheWrongExpert(FirstLogits):
    def forward(self, hidden_states, **side_inputs):
        routing = super().forward(hidden_states)
        selected = routing.selected_experts.clone()
        selected[5] = routing.router_probs[5].topk(K, largest=False).indices
        return dataclasses.replace(routing, selected_experts=selected)


class WeighsWrongly(FirstLogits):
    def forward(self, hidden_states, **side_inputs):
        routing = super().forward(hidden_states)
        return dataclasses.replace(routing, routing_weights=routing.routing_weights.flip(-1))


class GivesNaN(Router):
    def compute_router_probabilities(self, hidden_states):
        probs = torch.softmax(hidden_states[:, : self.num_experts], dim=-1)
        if len(probs) > 1:
            probs[5] = torch.nan
        return probs


@pytest.mark.parametrize(
    ("router_class", "named"),
    [
        (BiasedInBatches, "router_probs differ from the float64 reference by 0.001 at token 5"),
        (SelectsTheWrongExpert, "probabilities of selected_experts differ .* at token 5"),
        (WeighsWrongly, "routing_weights differ"),
        (GivesNaN, "router_probs differ .* by nan at token 5"),
    ],
)
def test_a_planted_error_is_found_and_named(router_class, named, random_tokens):
    with pytest.raises(AssertionError, match=named):
        check_router(router_class(D, E, K), random_tokens(20, D))


class Sigmoids(FirstLogits):
    """DeepSeek-V3's rule with a bias."""

    def __init__(self, *sizes):
        super().__init__(*sizes, selection="deepseek_v3", num_groups=2, groups_kept=1)
        self.selection_bias.copy_(torch.tensor([0.3, -0.3, 0.1, -0.1]))


class WeighsWithItsBias(Sigmoids):
    def forward(self, hidden_states, **side_inputs):
        routing = super().forward(hidden_states)
        weights = routing.ranked.gather(1, routing.selected_experts)
        return dataclasses.replace(routing, routing_weights=weights / weights.sum(dim=1, keepdim=True) * 2.5)


class ForgetsItsGroups(Sigmoids):
    def forward(self, hidden_states, **side_inputs):
        routing = super().forward(hidden_states)
        return dataclasses.replace(routing, selected_experts=routing.ranked.topk(K).indices)


class KeepsAll(FirstLogits):
    def __init__(self, *sizes):
        super().__init__(*sizes, selection="top_p", limit=0.4)

    def forward(self, hidden_states, **side_inputs):
        return dataclasses.replace(super().forward(hidden_states), kept=None)


class ReturnsToTheNextToken(FirstLogits):
    """Its own reference says where rows return; its routing brings them elsewhere."""

    def forward(self, hidden_states, **side_inputs):
        routing = super().forward(hidden_states)
        return dataclasses.replace(routing, routing_weights=routing.routing_weights.roll(1, 0))

    def reference(self, hidden_states):
        found = reference_routing(FirstLogits(D, E, K).double(), hidden_states)
        rows = [(t, e, w) for t, token in enumerate(found) for e, w in zip(token.selected, token.weights, strict=True)]
        dispatch = torch.eye(len(found)).double()[[t for t, _, _ in rows]]
        weights = torch.stack([weight for _, _, weight in rows])
        return ReferenceRouting(
            torch.stack([t.probs for t in found]), dispatch, [e for _, e, _ in rows], dispatch.T * weights
        )


class ReturnsRightly(ReturnsToTheNextToken):
    def forward(self, hidden_states, **side_inputs):
        return FirstLogits.forward(self, hidden_states)


@pytest.mark.parametrize(
    ("router_class", "named"),
    [
        (WeighsWithItsBias, "routing_weights differ"),
        (ForgetsItsGroups, "selected_experts differ"),
        (KeepsAll, "selected_experts differ"),
        (ReturnsToTheNextToken, "outputs differ"),
    ],
)
def test_an_error_planted_in_a_rule_or_another_routing_is_found_and_named(router_class, named, random_tokens):
    with pytest.raises(AssertionError, match=named):
        check_router(router_class(D, E, K), random_tokens(20, D))


@pytest.mark.parametrize("router_class", [Sigmoids, ReturnsRightly])
def test_a_rule_or_another_routing_that_is_right_passes(router_class, random_tokens):
    check_router(router_class(D, E, K), random_tokens(20, D))


def test_a_right_router_passes(random_tokens):
    check_router(FirstLogits(D, E, K), random_tokens(20, D))


def test_the_tolerance_decides(random_tokens):
    check_router(BiasedInBatches(D, E, K), random_tokens(20, D), tolerance=0.01)


def test_only_the_tokens_asked_for_are_compared(random_tokens):
    # 2 of 20 are the first and the last; the wrong one is the sixth
    check_router(BiasedInBatches(D, E, K), random_tokens(20, D), tokens=2)


def test_experts_of_equal_probability_may_stand_in_any_order():
    check_router(FirstLogits(D, E, K), torch.zeros(7, D))


def test_routing_of_one_token_by_hand():
    # e^ℓ = 1, 2, 4, 1 over 8; the two largest are 4/8 and 2/8, renormalised 2/3 and 1/3
    tokens = torch.tensor([[1.0, 2.0, 4.0, 1.0] + [0.0] * 12]).double()
    tokens[0, :4] = tokens[0, :4].log()
    (token,) = reference_routing(FirstLogits(D, E, K), tokens)
    assert token.probs.tolist() == pytest.approx([1 / 8, 2 / 8, 4 / 8, 1 / 8])
    assert token.selected == [2, 1]
    assert [float(weight) for weight in token.weights] == pytest.approx([2 / 3, 1 / 3])
    (raw,) = reference_routing(FirstLogits(D, E, K, norm_topk_prob=False), tokens)
    assert [float(weight) for weight in raw.weights] == pytest.approx([4 / 8, 2 / 8])


def test_layer_output_of_one_token_by_hand():
    # W_up = W_down = I, the activation the identity and b_down = e make expert_e(x) = x + e. The weights are 2/3 for
    # expert 2 and 1/3 for expert 1, so y = 2/3 (x + 2) + 1/3 (x + 1) = x + 5/3
    experts = FeedForwardExperts(E, D, D, activation=lambda x: x)
    with torch.no_grad():
        experts.up_weight.copy_(torch.eye(D).expand(E, D, D))
        experts.down_weight.copy_(torch.eye(D).expand(E, D, D))
        experts.down_bias.copy_(torch.arange(E).float()[:, None].expand(E, D))
    layer = as_float64(MoELayer(D, D, E, FirstLogits(D, E, K), experts=experts))
    token = torch.zeros(1, D).double()
    token[0, :4] = torch.tensor([1.0, 2.0, 4.0, 1.0]).double().log()
    expected = token + 5 / 3
    torch.testing.assert_close(reference_forward(layer, token), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(layer(token), expected, atol=1e-12, rtol=0)


def test_as_float64_leaves_the_original_alone(make_router):
    router = make_router("linear")
    assert as_float64(router).weight.dtype == torch.float64
    assert router.weight.dtype == torch.float32
