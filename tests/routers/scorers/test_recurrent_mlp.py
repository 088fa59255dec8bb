"""MLP router with a state that goes through the layers. Axes: T tokens, D hidden size, E experts, R width."""

import math

import pytest
import torch

from routers import MoELayer, create_experts
from routers.layer.zero_computation import ZeroComputationExperts


def logits_of(state, parameters, plain):
    size = math.sqrt(sum(v * v for v in state) / len(state) + 1e-5)
    hidden = [v / size * g for v, g in zip(state, parameters["norm_weight"], strict=True)]
    for name in ("first_proj", "second_proj"):
        hidden = plain.gelu(plain.matvec(parameters[f"{name}.weight"], hidden, parameters[f"{name}.bias"]))
    return plain.matvec(parameters["logit_proj.weight"], hidden)


def test_a_first_layer_equals_the_plain_formula(make_router, plain, parameters_of, assert_equals_formula):
    router = make_router("recurrent_mlp", hidden_size=13, num_experts=5, spread=0.3, width=7)
    parameters = parameters_of(router)

    def formula(token):
        state = plain.matvec(parameters["state_proj.weight"], token, parameters["state_proj.bias"])
        return plain.softmax(logits_of(state, parameters, plain))

    assert_equals_formula(router, formula)


def test_a_later_layer_adds_the_state_of_the_one_before(make_router, plain, parameters_of, random_tokens):
    router = make_router("recurrent_mlp", hidden_size=13, num_experts=5, spread=0.3, width=7, after_another=True)
    tokens, before = random_tokens(4, 13), random_tokens(4, 7, seed=1)
    found = router(tokens, previous_state=before).router_probs
    parameters = parameters_of(router)
    states = router.compute_state(tokens, before)
    for t in range(4):
        own = plain.matvec(parameters["state_proj.weight"], tokens[t].double().tolist(), parameters["state_proj.bias"])
        scaled = [g * v for g, v in zip(parameters["state_scale"], before[t].double().tolist(), strict=True)]
        state = [a + b for a, b in zip(own, scaled, strict=True)]
        assert states[t].tolist() == pytest.approx(state, abs=1e-5)
        assert found[t].tolist() == pytest.approx(plain.softmax(logits_of(state, parameters, plain)), abs=1e-5)


@pytest.mark.parametrize(("after_another", "shape"), [(True, None), (False, (7, 9)), (True, (7, 8))])
def test_a_state_that_is_missing_or_another_is_refused(after_another, shape, make_router, random_tokens):
    router = make_router("recurrent_mlp", hidden_size=6, width=9, after_another=after_another)
    with pytest.raises(ValueError, match=r"previous_state is .*, expected (None|\(7, 9\))"):
        router(random_tokens(7, 6), previous_state=None if shape is None else torch.zeros(shape))


def test_zayas_extra_expert_gives_nothing(make_router, random_tokens):
    router = make_router("recurrent_mlp", hidden_size=6, num_experts=5, top_k=1, selection="zaya")
    router.selection_bias[-1] = 2.0  # every token selects it
    layer = MoELayer(6, 5, 5, router, experts=ZeroComputationExperts(create_experts("swiglu", 4, 6, 5), zeros=1))
    assert not layer(random_tokens(7, 6)).any()


def test_has_the_parameters_of_its_maps(parameter_count):
    first = 768 * 96 + 2 * 96 * 96 + 96 * 8 + 4 * 96
    assert parameter_count("recurrent_mlp") == first
    assert parameter_count("recurrent_mlp", after_another=True) == first + 96
