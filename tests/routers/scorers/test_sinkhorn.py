"""Sinkhorn router. Axes: T tokens, D hidden size, E experts, K experts per token."""

import math

import pytest
import torch

from routers.metrics import max_violation
from routers.reference.check import check_router


def test_equals_the_plain_formula(make_router, plain, parameters_of, assert_equals_formula):
    router = make_router("sinkhorn", hidden_size=13, num_experts=5, spread=0.5)
    weight = parameters_of(router)["weight"]
    assert_equals_formula(router, lambda token: plain.softmax(plain.matvec(weight, token)))


def test_one_step_by_hand(make_router):
    # e^ℓ = (1, 1) and (1, 1/3) after the largest is taken out, all factors 1: rows sum to 2 and 4/3, so that d_t is 1/2
    # and 3/4; columns are 1/2 + 3/4 = 5/4 and 1/2 + 1/4 = 3/4, so that d_e is 1/(2 · 5/4) = 2/5 and 2/3
    router = make_router("sinkhorn", hidden_size=2, num_experts=2, top_k=1, steps=1).train()
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    plan = router.plan(logits)
    torch.testing.assert_close(plan - logits, torch.tensor([0.4, 2 / 3]).log().expand(2, 2))
    router.load_state_dict({"weight": torch.eye(2)})
    assert router(logits).selected_experts.flatten().tolist() == [1, 0]
    # the sigmoids of the logits 0 and ln 3
    torch.testing.assert_close(router(logits).routing_weights.flatten(), torch.tensor([0.5, 0.75]))


def test_training_evens_out_what_evaluation_does_not(make_router, random_tokens):
    router = make_router("sinkhorn", spread=0.1)
    tokens = random_tokens(256, 32) + 2 * random_tokens(1, 32, seed=1)  # an offset that all tokens have in common
    even, skewed = router.train()(tokens), router.eval()(tokens)
    assert max_violation(even.tokens_per_expert) < 0.4 * max_violation(skewed.tokens_per_expert)
    assert torch.equal(skewed.selected_experts, skewed.logits.topk(2).indices)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("top_k", "norm_topk_prob"), [(1, False), (2, True), (8, False)])
def test_equals_the_reference_in_both_modes(training, top_k, norm_topk_prob, make_router, random_tokens):
    router = make_router("sinkhorn", spread=0.3, top_k=top_k, norm_topk_prob=norm_topk_prob)
    check_router(router.train(training), random_tokens(30, 32))


def test_padding_has_no_part_in_the_plan(make_router, random_tokens):
    router, tokens = make_router("sinkhorn", spread=0.3).train(), random_tokens(32, 32)
    mask = torch.arange(32) % 4 == 1
    routing, expected = router(tokens, mask=mask), router(tokens[mask])
    assert torch.equal(routing.selected_experts[mask], expected.selected_experts)
    assert torch.equal(routing.tokens_per_expert, expected.tokens_per_expert)


def test_has_one_matrix(parameter_count):
    assert parameter_count("sinkhorn") == 6144


def test_a_negative_number_of_steps_is_refused(make_router):
    with pytest.raises(ValueError, match="steps is -1, expected at least 0"):
        make_router("sinkhorn", steps=-1)
