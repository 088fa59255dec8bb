"""Routers with a selection rule. Axes: T tokens, D hidden size, E experts, K experts per token."""

import copy
import warnings

import pytest
import torch

from routers import create_router, get_selection_rule, list_selection_rules


def test_a_router_takes_a_rule_with_changed_fields_and_keeps_its_bias_in_float32():
    router = create_router(
        "mlp", hidden_size=16, num_experts=16, top_k=4, selection="deepseek_v3", num_groups=8, groups_kept=4
    )
    assert router.selection == get_selection_rule("deepseek_v3")
    assert "selection=SelectionRule(score_function='sigmoid', ranked_by='scores_plus_bias', num_groups=8" in repr(
        router
    )
    bias = router.state_dict()["selection_bias"]
    assert (tuple(bias.shape), bias.dtype, bool(bias.any())) == ((16,), torch.float32, False)
    assert "selection_bias" not in dict(router.named_parameters())
    router.selection_bias.fill_(0.3001)
    router.to(torch.bfloat16)
    assert router.selection_bias.dtype == torch.float32
    assert float(router.selection_bias[0]) == pytest.approx(0.3001, abs=1e-7)
    assert router(torch.randn(5, 16)).routing_weights.dtype == torch.float32
    assert router.double().selection_bias.dtype == torch.float64


def test_the_default_has_no_bias_no_factor_and_the_keys_that_it_had():
    router = create_router("linear", hidden_size=4, num_experts=4, top_k=1)
    assert list(router.state_dict()) == ["weight"]
    assert "selection" not in repr(router)


def test_a_routing_carries_what_the_rule_made():
    router = create_router("linear", hidden_size=16, num_experts=8, top_k=3, selection="minimax_m2")
    router.selection_bias.copy_(torch.linspace(-1, 1, 8))
    routing = router(torch.randn(9, 16))
    torch.testing.assert_close(routing.router_scores, torch.sigmoid(routing.router_logits))
    torch.testing.assert_close(routing.ranked, routing.router_scores + router.selection_bias)
    torch.testing.assert_close(
        routing.router_probs, routing.router_scores / routing.router_scores.sum(dim=1, keepdim=True)
    )
    assert torch.equal(routing.selected_experts, routing.ranked.topk(3).indices)
    assert int(routing.unserved_tokens) == 0
    plain = create_router("linear", hidden_size=16, num_experts=8, top_k=3)(torch.randn(9, 16))
    assert plain.scores is plain.ranks is plain.kept is None
    assert torch.equal(plain.ranked, plain.router_logits)
    assert torch.equal(plain.router_scores, plain.router_probs)


def test_a_slot_that_is_not_kept_is_not_counted_and_a_token_without_one_is_unserved():
    router = create_router("linear", hidden_size=4, num_experts=4, top_k=4, selection="relu")
    with torch.no_grad():
        router.weight.copy_(torch.eye(4))
    tokens = torch.tensor([[1.0, 2, -1, -1], [-1, -1, -1, -1], [-1, 3, -1, 4]])
    routing = router(tokens)
    assert routing.tokens_per_expert.tolist() == [1, 2, 0, 1]
    assert routing.kept.sum(dim=1).tolist() == [2, 0, 2]
    assert int(routing.unserved_tokens) == 1
    assert not bool(routing.routing_weights[~routing.kept].any())


@pytest.mark.parametrize("name", ["linear", "mlp", "hybrid", "mlp_hadamard"])
def test_a_rule_whose_product_is_in_float32_has_it_in_a_router_that_is_in_less(name, make_router, random_tokens):
    router, tokens = make_router(name, spread=0.3, selection="flint").bfloat16(), random_tokens(20, 32).bfloat16()
    called = []
    router.register_forward_hook(lambda *_: called.append(1))
    found, exact = router(tokens), copy.deepcopy(router).float()(tokens.float())
    assert called == [1, 1]  # of the router and of its copy: once each
    assert torch.equal(found.routing_weights, exact.routing_weights)
    assert torch.equal(found.selected_experts, exact.selected_experts)
    rounded = make_router(name, spread=0.3, selection="lfm2_moe").bfloat16()(tokens)
    assert not torch.equal(rounded.router_scores.float(), found.router_scores)
    found.routing_weights.sum().backward()
    assert all(parameter.grad.dtype == torch.bfloat16 for parameter in router.parameters())
    assert next(router.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("rule", list_selection_rules())
def test_a_router_in_half_precision_has_probabilities_on_the_simplex(rule, make_router, random_tokens, assert_simplex):
    router = make_router("linear", num_experts=16, top_k=4, spread=0.3, selection=rule).bfloat16()
    routing = router(random_tokens(20, 32).bfloat16())
    assert_simplex(routing.router_probs)
    assert routing.routing_weights.dtype == torch.float32


def test_a_rule_with_groups_is_exported_for_any_number_of_tokens():
    class Weights(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.router = create_router("linear", hidden_size=8, num_experts=16, top_k=4, selection="deepseek_v3")

        def forward(self, tokens):
            return self.router(tokens).routing_weights

    module, shapes = Weights().eval(), ({0: torch.export.Dim("tokens")},)
    exported = torch.export.export(module, (torch.randn(9, 8),), dynamic_shapes=shapes).module()
    tokens = torch.randn(5, 8)
    assert torch.equal(exported(tokens), module(tokens))


def test_a_single_weight_that_is_always_the_same_is_warned_of():
    router = create_router("linear", hidden_size=4, num_experts=4, top_k=1, selection="flint")
    with pytest.warns(UserWarning, match="top_k = 1 and weights that sum to one"):
        router(torch.randn(3, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create_router("linear", hidden_size=4, num_experts=4, top_k=1, selection="llama4")(torch.randn(3, 4))
