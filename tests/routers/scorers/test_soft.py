"""Soft router. Axes: T tokens, D hidden size, E experts, S slots per expert."""

import math

import pytest
import torch

from routers import MoELayer, SoftSlots
from routers.reference.check import as_float64, reference_forward


@pytest.mark.parametrize("slots", [1, 3])
def test_equals_the_plain_formula(slots, make_router, plain, parameters_of, assert_equals_formula):
    router = make_router("soft", hidden_size=13, num_experts=5, spread=0.5, slots_per_expert=slots)
    parameters = parameters_of(router)

    def formula(token):
        directions = [plain.unit(slot) for slot in parameters["slots"]]
        cosines = plain.matvec(directions, plain.unit(token))
        shares = plain.softmax([parameters["scale"] * value for value in cosines])
        return [sum(shares[e * slots : (e + 1) * slots]) for e in range(5)]

    assert_equals_formula(router, formula)


def test_the_verbs_by_hand():
    # e^ℓ = (1, 3) for token 0 and (1, 1) for token 1, a slot an expert
    routing = SoftSlots(2, slot_logits=torch.tensor([[0.0, math.log(3)], [0.0, 0.0]]))
    rows, expert_index = routing.dispatch(torch.tensor([[8.0], [4.0]]))
    # over tokens: (1/2, 1/2) and (3/4, 1/4)
    assert rows.flatten().tolist() == pytest.approx([6, 7])
    assert expert_index.tolist() == [0, 1]
    # over slots: (1/4, 3/4) and (1/2, 1/2)
    assert routing.combine(torch.tensor([[1.0], [5.0]])).flatten().tolist() == pytest.approx([4, 3])
    assert routing.tokens_per_expert.tolist() == [1, 1]
    assert routing.unserved_tokens.item() == 0


def test_a_layer_with_several_slots_equals_the_reference(make_router, random_tokens):
    router = make_router("soft", hidden_size=6, num_experts=4, spread=0.3, slots_per_expert=3)
    torch.manual_seed(0)
    layer = as_float64(MoELayer(6, 5, 4, router))
    tokens = random_tokens(9, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(tokens), reference_forward(layer, tokens), atol=1e-12, rtol=0)


@pytest.mark.parametrize("compiled", [False, True])
def test_padding_is_in_no_mixture(compiled, compiler, make_router, random_tokens):
    layer = MoELayer(6, 5, 4, make_router("soft", hidden_size=6, num_experts=4, spread=0.3))
    tokens, mask = random_tokens(16, 6), torch.arange(16) % 4 == 1
    expected = layer(tokens[mask])
    call = torch.compile(layer, fullgraph=True, backend="eager", dynamic=False) if compiled else layer
    output = call(tokens.masked_fill(~mask.unsqueeze(1), torch.nan), mask=mask)
    torch.testing.assert_close(output[mask], expected)
    assert not output[~mask].any()
    assert not layer(tokens, mask=torch.zeros(16, dtype=torch.bool)).any()


def test_has_a_direction_for_each_slot_and_a_scale(parameter_count):
    assert parameter_count("soft") == 6144 + 1
    assert parameter_count("soft", slots_per_expert=4) == 4 * 6144 + 1


def test_no_slot_is_refused(make_router):
    with pytest.raises(ValueError, match="slots_per_expert is 0, expected at least 1"):
        make_router("soft", slots_per_expert=0)


@pytest.mark.parametrize("name", ["soft", "expert_choice"])
def test_gradients_to_all_experts_of_a_selection_that_no_token_makes_are_refused(make_router, name):
    with pytest.raises(
        ValueError, match=r"^straight_through is True, expected False: \w+Router selects no token's exp"
    ):
        make_router(name, straight_through=True)
