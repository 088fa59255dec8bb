"""Switch router. Axes: T tokens, D hidden size, E experts."""

import math

import pytest
import torch

from routers.reference.check import check_router


def test_equals_the_plain_formula(make_router, plain, parameters_of, assert_equals_formula):
    router = make_router("switch", hidden_size=13, num_experts=5, spread=0.5)
    weight = parameters_of(router)["weight"]
    assert_equals_formula(router, lambda token: plain.softmax(plain.matvec(weight, token)))


def test_a_full_expert_drops_by_hand(make_router):
    # p of expert 0: 3/4, 2/3, 3/5 and 1/5; it has ⌈1.0 · 4/2⌉ = 2 places, token 2 gets none
    router = make_router("switch", hidden_size=2, num_experts=2, capacity_factor=1.0)
    router.load_state_dict({"weight": torch.eye(2)})
    routing = router(torch.tensor([[3.0, 1.0], [2.0, 1.0], [3.0, 2.0], [1.0, 4.0]]).log())
    assert routing.selected_experts.flatten().tolist() == [0, 0, 0, 1]
    assert routing.kept.flatten().tolist() == [True, True, False, True]
    torch.testing.assert_close(routing.routing_weights.flatten(), torch.tensor([3 / 4, 2 / 3, 0, 4 / 5]))
    assert routing.unserved_tokens.item() == 1


@pytest.mark.parametrize("capacity_factor", [0.25, 1.25])
def test_what_it_drops_equals_the_reference(capacity_factor, make_router, random_tokens):
    router = make_router("switch", spread=0.3, capacity_factor=capacity_factor)
    tokens = random_tokens(100, 32)
    assert int(router(tokens).unserved_tokens) > 0
    check_router(router, tokens)


def test_it_learns_from_the_task_with_its_one_expert(make_router, random_tokens):
    router = make_router("switch", top_k=4)
    assert router.top_k == 1
    router(random_tokens(9, 32)).routing_weights.sum().backward()
    assert router.weight.grad.any()


def test_has_one_matrix(parameter_count):
    assert parameter_count("switch") == 6144


def test_a_capacity_that_cannot_be_is_refused(make_router):
    with pytest.raises(ValueError, match="capacity_factor is inf"):
        make_router("switch", capacity_factor=math.inf)
