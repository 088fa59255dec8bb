"""Slots that are not kept: capacity with dropping, and fewer experts than K. Axes: T tokens, D, E experts, K slots."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routers import MoELayer, Routing, StraightThrough, TokenChoice
from routers.losses import observed_load_balancing_loss
from routers.metric import Observed
from routers.metrics import co_activation, drop_rate, expert_load, rank_imbalance
from routers.routing.capacity import Capacity

D, E = 6, 4


def choice(selected, weights=None, kept=None, kind=TokenChoice, **fields):
    selected = torch.tensor(selected)
    weights = torch.full(selected.shape, 0.5) if weights is None else torch.tensor(weights)
    kept = None if kept is None else torch.tensor(kept)
    return kind(E, selected_experts=selected, routing_weights=weights, kept=kept, **fields)


def test_slots_that_are_not_kept_by_hand():
    # token 0 -> expert 2 (¾); token 1 -> experts 2 (½), 3 (½); token 2 -> none
    routing = choice(
        [[2, 0], [2, 3], [0, 0]],
        [[0.75, 0.0], [0.5, 0.5], [0.0, 0.0]],
        [[True, False], [True, True], [False, False]],
    )
    rows, expert_index = routing.dispatch(torch.tensor([[10.0], [20.0], [30.0]]))
    assert expert_index.tolist() == [2, 2, 3]
    assert rows.tolist() == [[10.0], [20.0], [20.0]]
    assert routing.tokens_per_expert.tolist() == [0, 0, 2, 1]
    assert routing.unserved_tokens.item() == 1
    # outputs 1, 2, 3 in that order: y_0 = ¾ · 1, y_1 = ½ · 2 + ½ · 3, y_2 = 0
    assert routing.combine(torch.tensor([[1.0], [2.0], [3.0]])).tolist() == [[0.75], [2.5], [0.0]]


def test_a_token_that_does_not_count_is_not_unserved():
    routing = choice([[1], [2]], [[1.0], [1.0]]).masked(torch.tensor([True, False]))
    assert routing.unserved_tokens.item() == 0
    assert routing.unserved_tokens.dtype == torch.int64


def test_dropping_is_by_position_and_by_hand():
    # ⌈1.0 · 8/4⌉ = 2 rows: expert 1 has tokens 0, 1, 2 and 3, and keeps 0 and 1; the others have room
    routing = choice([[1, 0], [1, 2], [1, 3], [2, 1]]).with_capacity(Capacity.of(1.0))
    assert routing.kept.tolist() == [[True, True], [True, True], [False, True], [True, False]]
    assert routing.routing_weights.tolist() == [[0.5, 0.5], [0.5, 0.5], [0.0, 0.5], [0.5, 0.0]]
    assert routing.tokens_per_expert.tolist() == [1, 2, 2, 1]


def test_padding_takes_no_room_and_is_no_assignment():
    # of 4 tokens 3 count, ⌈1.0 · 3/4⌉ = 1 row: expert 1 keeps token 1, because token 0 is padding
    routing = choice([[1], [1], [1], [0]]).masked(torch.tensor([False, True, True, True]))
    assert routing.with_capacity(Capacity.of(1.0)).kept.flatten().tolist() == [False, True, False, True]


@given(num_tokens=st.integers(0, 20), factor=st.sampled_from([0.1, 0.5, 1.0, 1.25, 2.0, 1 / 3]), seed=st.integers(0, 9))
def test_what_is_dropped_is_what_the_metric_says(num_tokens, factor, seed):
    logits = torch.randn(num_tokens, E, generator=torch.Generator().manual_seed(seed))
    routing = choice(logits.topk(2).indices.tolist() or torch.zeros(0, 2).long().tolist())
    if not num_tokens:
        return
    kept = routing.with_capacity(Capacity.of(factor)).kept
    capacity = math.ceil(Fraction(str(factor)).limit_denominator(10**6) * 2 * num_tokens / E)
    room = [capacity] * E
    for token, experts in enumerate(routing.selected_experts.tolist()):
        for slot, expert in enumerate(experts):
            assert bool(kept[token, slot]) is (room[expert] > 0)
            room[expert] -= 1
    dropped = 1 - kept.double().mean()
    torch.testing.assert_close(dropped, drop_rate(routing.tokens_per_expert, factor))


def test_a_layer_with_capacity_drops_and_leaves_the_residual(make_router, random_tokens):
    # every token alike: all want experts a and b, of which each has ⌈0.5 · 2 · 16/4⌉ = 4 rows
    router = make_router("linear", hidden_size=D, num_experts=E, spread=0.3)
    layer = MoELayer(D, 5, E, router, capacity_factor=0.5)
    tokens = random_tokens(1, D).repeat(16, 1)
    output, routing = layer.forward_with_routing(tokens)
    assert sorted(routing.tokens_per_expert.tolist()) == [0, 0, 4, 4]
    assert int(routing.unserved_tokens) == 12
    plain = MoELayer(D, 5, E, router, experts=layer.experts)
    torch.testing.assert_close(output[:4], plain(tokens)[:4])
    assert not output[4:].any()
    rows, _ = routing.dispatch(tokens)
    assert len(rows) == 8


def test_the_gradient_of_what_is_dropped_is_zero_and_of_the_rest_unchanged(make_router, random_tokens):
    router = make_router("linear", hidden_size=D, num_experts=E, spread=0.3)
    layer = MoELayer(D, 5, E, router, capacity_factor=0.75).double()
    tokens = random_tokens(16, D, dtype=torch.float64).requires_grad_()
    output, routing = layer.forward_with_routing(tokens)
    (found,) = torch.autograd.grad(output.sum(), tokens)
    expected = torch.zeros_like(tokens)
    for t in range(16):  # one token after the other, with the slots that it keeps
        token = tokens[t].detach().requires_grad_()
        plain = layer.router(token[None])
        row = torch.zeros(D).double()
        for slot in range(2):
            if routing.kept[t, slot]:
                expert = int(plain.selected_experts[0, slot])
                row = row + plain.routing_weights[0, slot] * layer.experts(token[None], torch.tensor([expert]))[0]
        if row.requires_grad:
            (expected[t],) = torch.autograd.grad(row.sum(), token)
    assert 0 < int(routing.kept.sum()) < 32
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_straight_through_drops_from_the_value_and_not_from_the_gradient(make_router, random_tokens):
    tokens = random_tokens(16, D)
    layers = []
    for straight_through in (False, True):
        router = make_router("linear", hidden_size=D, num_experts=E, spread=0.3, straight_through=straight_through)
        torch.manual_seed(3)
        layers.append(MoELayer(D, 5, E, router, capacity_factor=0.5))
    (hard, soft), (_, routing) = (layer(tokens) for layer in layers), layers[1].forward_with_routing(tokens)
    assert isinstance(routing, StraightThrough)
    assert int(routing.unserved_tokens) > 0
    torch.testing.assert_close(hard, soft)
    soft.sum().backward()
    assert layers[1].experts.down_weight.grad.flatten(1).any(dim=1).all()


@pytest.mark.parametrize("factor", [0, -1.0, math.inf, math.nan])
def test_a_capacity_that_cannot_be_is_refused(factor, make_router):
    with pytest.raises(ValueError, match=f"capacity_factor is {factor}, expected a finite number above 0"):
        MoELayer(D, 5, E, "linear", capacity_factor=factor)


def test_the_factor_is_the_number_that_is_written():
    # 1.1 · 80/8 is 11 and not 12
    assert Capacity.of(1.1).rows(80, 8) == 11
    assert Capacity.of(1.1).rows(torch.tensor(80), 8).item() == 11
    assert Capacity.of(Fraction(4, 3)).rows(30, 4) == 10
    assert Capacity.of(1e-9).rows(30, 4) == 1
    assert str(Capacity.of(1.25)) == "1.25"


def test_a_kind_that_fixes_its_rows_takes_no_capacity():
    class Other(Routing):
        tokens_per_expert = dispatch = combine = None

    with pytest.raises(ValueError, match=r"a capacity of 1\.25 is given, but Other fixes each expert's rows itself"):
        Other(E).with_capacity(Capacity.of(1.25))


def test_metrics_and_the_loss_count_what_is_kept():
    kept = torch.tensor([[True, False], [True, True]])
    selected = torch.tensor([[2, 2], [2, 3]])
    assert expert_load(selected, E, kept).tolist() == pytest.approx([0, 0, 2 / 3, 1 / 3])
    assert co_activation(selected, E, kept).tolist() == [[0] * 4, [0] * 4, [0, 0, 0, 0.5], [0, 0, 1, 0]]
    routing = choice(selected.tolist(), kept=kept.tolist(), probs=torch.full((2, E), 0.25))
    # 0.01 Σ f P with P even: 0.01/4
    assert float(observed_load_balancing_loss(Observed(routing, torch.zeros(2, 1)))) == pytest.approx(0.0025)


def test_imbalance_over_ranks_by_hand():
    # ranks of two: 3 + 1, 0 + 0, 2 + 2, 4 + 0, mean 3; of four: 4 and 8, mean 6
    load = torch.tensor([3, 1, 0, 0, 2, 2, 4, 0])
    assert float(rank_imbalance(load, 4)) == pytest.approx(4 / 3)
    assert float(rank_imbalance(load, 2)) == pytest.approx(8 / 6)
    assert float(rank_imbalance(load, 8)) == pytest.approx(4 / 1.5)
    assert float(rank_imbalance(load, 1)) == 1
    assert float(rank_imbalance(load / 12, 2)) == pytest.approx(8 / 6)
    for ranks in (3, 0, 16):
        with pytest.raises(ValueError, match=f"ranks is {ranks}, expected a divisor of the number of experts, 8"):
            rank_imbalance(load, ranks)
