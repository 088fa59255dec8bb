"""Expert-choice router. Axes: T tokens, D hidden size, E experts, K experts per token, C tokens per expert."""

import pytest
import torch

from routers import ExpertChoice, MoELayer
from routers.reference.check import check_router


def test_experts_choose_by_hand(make_router):
    # x = (ln a, ln b): p of expert 0 is a/(a + b): 3/4, 2/3, 1/2, 1/5; C = ⌈1 · 4/2⌉ = 2
    router = make_router("expert_choice", hidden_size=2, num_experts=2, top_k=1)
    router.load_state_dict({"weight": torch.eye(2)})
    routing = router(torch.tensor([[3.0, 1.0], [2.0, 1.0], [1.0, 1.0], [1.0, 4.0]]).log())
    assert routing.chosen_tokens.tolist() == [[0, 1], [3, 2]]
    torch.testing.assert_close(routing.routing_weights, torch.tensor([[3 / 4, 2 / 3], [4 / 5, 1 / 2]]))
    assert routing.tokens_per_expert.tolist() == [2, 2]
    assert routing.unserved_tokens.item() == 0


def test_the_verbs_by_hand():
    # expert 0 takes tokens 0 and 2, expert 1 tokens 2 and 0: token 1 has none
    routing = ExpertChoice(
        2,
        num_tokens=3,
        chosen_tokens=torch.tensor([[0, 2], [2, 0]]),
        routing_weights=torch.tensor([[0.5, 1.0], [0.25, 2.0]]),
    )
    rows, expert_index = routing.dispatch(torch.tensor([[10.0], [20.0], [30.0]]))
    assert rows.flatten().tolist() == [10, 30, 30, 10]
    assert expert_index.tolist() == [0, 0, 1, 1]
    # y_0 = 0.5 · 1 + 2 · 4, y_1 = 0, y_2 = 1 · 2 + 0.25 · 3
    assert routing.combine(torch.tensor([[1.0], [2.0], [3.0], [4.0]])).flatten().tolist() == [8.5, 0, 2.75]
    assert routing.unserved_tokens.item() == 1


@pytest.mark.parametrize(("top_k", "capacity"), [(1, 3), (2, 6), (5, 13)])
def test_every_expert_has_its_share(top_k, capacity, make_router, random_tokens):
    router = make_router("expert_choice", hidden_size=6, num_experts=5, top_k=top_k)
    assert router(random_tokens(13, 6)).tokens_per_expert.tolist() == [capacity] * 5


@pytest.mark.parametrize("compiled", [False, True])
def test_padding_is_not_chosen(compiled, compiler, make_router, random_tokens):
    layer = MoELayer(6, 5, 4, make_router("expert_choice", hidden_size=6, num_experts=4, top_k=1, spread=0.3))
    tokens, mask = random_tokens(16, 6), torch.arange(16) % 4 == 1
    expected, without = layer.forward_with_routing(tokens[mask])
    call = torch.compile(layer, fullgraph=True, backend="eager", dynamic=False) if compiled else layer
    output = call(tokens, mask=mask)
    torch.testing.assert_close(output[mask], expected)
    assert not output[~mask].any()
    routing = layer.router(tokens, mask=mask)
    assert routing.tokens_per_expert.tolist() == without.tokens_per_expert.tolist() == [1, 1, 1, 1]
    assert int(routing.unserved_tokens) == int(without.unserved_tokens)
    assert len(routing.dispatch(tokens)[0]) == 4
    nothing = layer(tokens, mask=torch.zeros(16, dtype=torch.bool))
    assert not nothing.any()


def test_a_capacity_of_the_layers_is_refused(make_router, random_tokens):
    router = make_router("expert_choice", hidden_size=6, num_experts=4)
    layer = MoELayer(6, 5, 4, router, capacity_factor=1.25)
    with pytest.raises(ValueError, match=r"a capacity of 1\.25 is given, but ExpertChoice fixes"):
        layer(random_tokens(8, 6))


def test_has_one_matrix_and_selects_by_itself(parameter_count, make_router):
    assert parameter_count("expert_choice") == 6144
    with pytest.raises(ValueError, match="expected none: ExpertChoiceRouter selects by itself"):
        make_router("expert_choice", selection="deepseek_v3")


def test_of_two_tokens_that_are_alike_but_for_rounding_an_expert_may_take_either(make_router, random_tokens):
    # The features in reverse order, and weights that are the same either way; of 22 tokens each expert takes 11.
    router = make_router("expert_choice", hidden_size=64, num_experts=2, top_k=1, spread=0.3)
    router.weight.data[:, 32:] = router.weight.data[:, :32].flip(1)
    tokens = random_tokens(11, 64)
    tokens = torch.stack([tokens, tokens.flip(1)], dim=1).reshape(22, 64)
    reference = router.double().reference(tokens.double())
    assert reference.margin.sort().values[:2].max() < 1e-12
    order = torch.randperm(22, generator=torch.Generator().manual_seed(0))
    for batch in (tokens, tokens.flip(0), tokens[order]):
        check_router(router.float(), batch)
    reference.combine.mul_(1.001)
    router.reference = lambda hidden_states: reference
    with pytest.raises(AssertionError, match="outputs differ"):
        check_router(router, tokens)
