"""Router with the logits of the layer before. Axes: T tokens, D hidden size, E experts."""

import pytest
import torch

from routers import MoELayer


def test_a_first_layer_equals_the_plain_formula(make_router, plain, parameters_of, assert_equals_formula):
    router = make_router("gating_residual", hidden_size=13, num_experts=5, spread=0.5)
    weight = parameters_of(router)["weight"]
    assert_equals_formula(router, lambda token: plain.softmax(plain.matvec(weight, token)))


def test_a_later_layer_equals_the_plain_formula(make_router, plain, parameters_of, random_tokens):
    first = make_router("gating_residual", hidden_size=13, num_experts=5, spread=0.5)
    second = make_router("gating_residual", hidden_size=13, num_experts=5, spread=0.5, seed=1, after_another=True)
    tokens, later = random_tokens(5, 13), random_tokens(5, 13, seed=1)
    before = first(tokens).router_logits
    found = second(later, previous_logits=before).router_probs
    parameters = parameters_of(second)
    for t in range(5):
        own = plain.matvec(parameters["weight"], later[t].double().tolist())
        residual = plain.matvec(parameters["residual_weight"], before[t].double().tolist())
        expected = plain.softmax([a + b for a, b in zip(own, residual, strict=True)])
        assert found[t].tolist() == pytest.approx(expected, abs=1e-5)
    found.square().sum().backward()
    assert second.residual_weight.grad.any()
    assert first.weight.grad.any()


def test_has_a_square_matrix_after_another_layer(parameter_count):
    assert parameter_count("gating_residual") == 6144
    assert parameter_count("gating_residual", after_another=True) == 6144 + 64


def test_a_layer_passes_the_logits_on(make_router, random_tokens):
    router = make_router("gating_residual", hidden_size=6, num_experts=4, spread=0.3, after_another=True)
    layer = MoELayer(6, 5, 4, router)
    assert layer(random_tokens(7, 6), previous_logits=random_tokens(7, 4)).shape == (7, 6)


@pytest.mark.parametrize(("after_another", "shape"), [(True, None), (False, (7, 4)), (True, (6, 4))])
def test_logits_that_are_missing_or_others_are_refused(after_another, shape, make_router, random_tokens):
    router = make_router("gating_residual", hidden_size=6, num_experts=4, after_another=after_another)
    with pytest.raises(ValueError, match=r"previous_logits are .*, expected (none|\(7, 4\))"):
        router(random_tokens(7, 6), previous_logits=None if shape is None else torch.zeros(shape))
