"""Routing: dispatch and combine, of the package's kinds and of three more that the contract must carry.

Axes: T tokens, D hidden size, E experts, K experts per token, C capacity, S slots per expert, N expert rows.
"""

from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from routers import LogitRouter, MoELayer, Routing, StraightThrough, TokenChoice
from routers.reference.check import as_float64, reference_expert
from routers.routing import expert_softmax

D, E, C, S = 6, 4, 3, 2


@dataclass(frozen=True, eq=False)
class RowWeights(Routing):
    """Row n is token `tokens[n]` for expert `expert_index[n]`, its output added at the token with `weights[n]`."""

    tokens: Tensor = field(kw_only=True)
    expert_index: Tensor = field(kw_only=True)
    weights: Tensor = field(kw_only=True)

    @property
    def tokens_per_expert(self):
        return torch.bincount(self.expert_index, minlength=self.num_experts)

    def dispatch(self, hidden_states):
        return hidden_states[self.tokens], self.expert_index

    def combine(self, expert_outputs):
        output = expert_outputs.new_zeros(len(self.router_probs), expert_outputs.shape[1])
        return output.index_add(0, self.tokens, self.weights[:, None] * expert_outputs)


class InnerProductRouter(LogitRouter):
    """Logits from a parameter."""

    def __init__(self):
        super().__init__(D, E, 1)
        self.weight = torch.nn.Parameter(torch.randn(E, D))

    def compute_router_logits(self, hidden_states):
        return hidden_states @ self.weight.T


class ExpertChoiceRouter(InnerProductRouter):
    """Each expert takes its top C tokens (Zhou et al. 2022)."""

    deterministic_per_token = False

    def forward(self, hidden_states, **side_inputs):
        logits = self.compute_router_logits(self.flatten(hidden_states))
        chosen = expert_softmax(logits).t().topk(C, dim=-1)  # (E, C)
        index = torch.arange(E).repeat_interleave(C)
        return RowWeights(
            E, logits=logits, tokens=chosen.indices.flatten(), expert_index=index, weights=chosen.values.flatten()
        )


class TopPRouter(InnerProductRouter):
    """The fewest experts that together have probability 0.7: one for a sure token, more for an unsure one."""

    def forward(self, hidden_states, **side_inputs):
        logits = self.compute_router_logits(self.flatten(hidden_states))
        ranked = expert_softmax(logits).sort(dim=-1, descending=True)
        before = ranked.values.cumsum(dim=-1) - ranked.values
        taken = torch.zeros_like(before, dtype=torch.bool).scatter(1, ranked.indices, before < 0.7)
        index, tokens = taken.t().nonzero(as_tuple=True)
        weights = expert_softmax(logits)[tokens, index]
        return RowWeights(E, logits=logits, tokens=tokens, expert_index=index, weights=weights)


@dataclass(frozen=True, eq=False)
class SoftSlots(Routing):
    """Every row is a mixture of all tokens, every token a mixture of all rows."""

    slot_logits: Tensor = field(kw_only=True)  # (T, E·S)

    @property
    def tokens_per_expert(self):
        return torch.full((self.num_experts,), S)

    def dispatch(self, hidden_states):
        return self.slot_logits.softmax(dim=0).T @ hidden_states, torch.arange(self.num_experts).repeat_interleave(S)

    def combine(self, expert_outputs):
        return self.slot_logits.softmax(dim=1) @ expert_outputs


class SoftMoERouter(InnerProductRouter):
    """Soft MoE (Puigcerver et al. 2024): S slots an expert, nothing dropped, nothing selected."""

    def __init__(self):
        super().__init__()
        self.slots = torch.nn.Parameter(torch.randn(E * S, D))

    def forward(self, hidden_states, **side_inputs):
        tokens = self.flatten(hidden_states)
        return SoftSlots(E, logits=self.compute_router_logits(tokens), slot_logits=tokens @ self.slots.T)


def plain_expert_choice(layer, tokens):
    output = [torch.zeros(D).double() for _ in tokens]
    probs = [torch.softmax(layer.router.weight @ token, dim=0) for token in tokens]
    for expert in range(E):
        for t in sorted(range(len(tokens)), key=lambda t, e=expert: -float(probs[t].detach()[e]))[:C]:
            output[t] = output[t] + probs[t][expert] * reference_expert(layer.experts, expert, tokens[t])
    return torch.stack(output)


def plain_top_p(layer, tokens):
    output = []
    for token in tokens:
        probs = torch.softmax(layer.router.weight @ token, dim=0)
        row, total = torch.zeros(D).double(), 0.0
        for expert in sorted(range(E), key=lambda e, p=probs: -float(p.detach()[e])):
            if total < 0.7:
                row = row + probs[expert] * reference_expert(layer.experts, expert, token)
                total += float(probs[expert].detach())
        output.append(row)
    return torch.stack(output)


def plain_soft_moe(layer, tokens):
    slot_outputs = []
    for slot, direction in enumerate(layer.router.slots):
        share = torch.softmax(torch.stack([direction @ token for token in tokens]), dim=0)
        mixture = sum(p * token for p, token in zip(share, tokens, strict=True))
        slot_outputs.append(reference_expert(layer.experts, slot // S, mixture))
    output = []
    for token in tokens:
        share = torch.softmax(layer.router.slots @ token, dim=0)
        output.append(sum(p * slot for p, slot in zip(share, slot_outputs, strict=True)))
    return torch.stack(output)


@pytest.mark.parametrize(
    ("router_class", "plain_layer"),
    [
        (ExpertChoiceRouter, plain_expert_choice),
        (TopPRouter, plain_top_p),
        (SoftMoERouter, plain_soft_moe),
    ],
)
def test_the_layer_carries_another_kind_of_routing_unchanged(router_class, plain_layer, random_tokens):
    torch.manual_seed(0)
    layer = as_float64(MoELayer(D, 5, E, router_class()))
    tokens = random_tokens(2, 7, D, dtype=torch.float64)
    upstream = random_tokens(2, 7, D, seed=1, dtype=torch.float64)
    output, routing = layer.forward_with_routing(tokens)
    expected = plain_layer(layer, tokens.flatten(0, 1)).view(2, 7, D)
    torch.testing.assert_close(output, expected, atol=1e-10, rtol=0)
    parameters = [
        p for name, p in layer.named_parameters() if router_class is not SoftMoERouter or "weight" not in name
    ]
    gradients = torch.autograd.grad((output * upstream).sum(), parameters)
    expected_gradients = torch.autograd.grad((expected * upstream).sum(), parameters)
    torch.testing.assert_close(gradients, expected_gradients, atol=1e-10, rtol=0)
    assert int(routing.tokens_per_expert.sum()) == len(routing.dispatch(tokens.flatten(0, 1))[0])


def test_top_p_gives_tokens_different_numbers_of_experts(random_tokens):
    torch.manual_seed(0)
    routing = TopPRouter()(random_tokens(40, D))
    assert len(torch.bincount(routing.tokens, minlength=40).unique()) > 1


def token_choice(num_experts, selected, weights, probs=None, kind=TokenChoice):
    return kind(num_experts, probs=probs, selected_experts=selected, routing_weights=weights)


def test_token_choice_by_hand():
    # token 0 -> experts 2 (¾), 0 (¼); token 1 -> experts 2 (½), 3 (½)
    weights = torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    routing = token_choice(4, torch.tensor([[2, 0], [2, 3]]), weights)
    rows, expert_index = routing.dispatch(torch.tensor([[10.0], [20.0]]))
    assert expert_index.tolist() == [0, 2, 2, 3]
    assert rows.tolist() == [[10.0], [10.0], [20.0], [20.0]]
    assert routing.tokens_per_expert.tolist() == [1, 0, 2, 1]
    # outputs 1, 2, 3, 4 in that order: y_0 = ¾ · 2 + ¼ · 1, y_1 = ½ · 3 + ½ · 4
    assert routing.combine(torch.tensor([[1.0], [2.0], [3.0], [4.0]])).tolist() == [[1.75], [3.5]]


@given(num_tokens=st.integers(0, 20), num_experts=st.integers(1, 9), data=st.data())
def test_rows_are_sorted_and_return_to_their_tokens(random_tokens, num_tokens, num_experts, data):
    top_k = data.draw(st.integers(1, num_experts))
    selected = random_tokens(num_tokens, num_experts).topk(top_k).indices
    weights = torch.softmax(random_tokens(num_tokens, top_k, seed=1), dim=-1)
    routing = token_choice(num_experts, selected, weights)
    tokens = random_tokens(num_tokens, 5, seed=2)
    rows, expert_index = routing.dispatch(tokens)
    assert len(rows) == len(expert_index) == num_tokens * top_k
    assert torch.equal(expert_index, expert_index.sort().values)
    assert torch.equal(torch.bincount(expert_index, minlength=num_experts), routing.tokens_per_expert)
    for expert in range(num_experts):  # each expert has the rows of its tokens, in their order
        assert torch.equal(rows[expert_index == expert], tokens[(selected == expert).any(dim=1)])
    torch.testing.assert_close(routing.combine(rows), tokens)  # weights sum to 1 and the experts changed nothing
    scaled = routing.combine(rows * (expert_index + 1.0)[:, None])
    torch.testing.assert_close(scaled, tokens * ((selected + 1) * weights).sum(dim=1, keepdim=True))


def test_straight_through_has_token_choices_value_bit_for_bit(random_tokens):
    # whole outputs and weights in quarters make every product and sum exact, in whatever order
    selected = random_tokens(30, E).topk(2).indices
    weights = torch.tensor([0.75, 0.25]).expand(30, 2)
    probs = torch.softmax(random_tokens(30, E), dim=-1)
    hard = token_choice(E, selected, weights)
    soft = token_choice(E, selected, weights, probs, StraightThrough)
    outputs = (8 * random_tokens(E, 30, D, seed=1)).round()
    every_row = soft.combine(outputs.flatten(0, 1))
    tokens, expert_index = hard.dispatch(torch.arange(30)[:, None])
    assert torch.equal(every_row, hard.combine(outputs[expert_index, tokens[:, 0]]))


def test_straight_through_gives_every_expert_every_token():
    routing = token_choice(3, torch.tensor([[1], [1]]), torch.ones(2, 1), torch.full((2, 3), 1 / 3), StraightThrough)
    rows, expert_index = routing.dispatch(torch.tensor([[10.0], [20.0]]))
    assert rows.flatten().tolist() == [10, 20, 10, 20, 10, 20]
    assert expert_index.tolist() == [0, 0, 1, 1, 2, 2]
    assert routing.tokens_per_expert.tolist() == [0, 2, 0]  # those that decide the value


@pytest.mark.parametrize("shape", [(0, 8), (1, 8), (31, 8), (50, 8), (50, 15), (50, 16), (50, 1), (2, 3, 8), (8,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_expert_softmax_is_the_softmax(shape, dtype, random_tokens):
    logits = random_tokens(*shape, dtype=dtype)
    expected = torch.softmax(logits.to(torch.promote_types(dtype, torch.float32)), dim=-1)
    assert expert_softmax(logits).dtype == expected.dtype
    torch.testing.assert_close(expert_softmax(logits), expected)


def test_log_probabilities_stand_in_for_logits():
    probs = torch.tensor([[0.5, 0.25, 0.25, 0.0]])
    routing = token_choice(4, torch.tensor([[0]]), torch.ones(1, 1), probs)
    torch.testing.assert_close(torch.softmax(routing.router_logits, dim=-1), probs)


def test_a_routing_without_scores_says_so():
    with pytest.raises(ValueError, match="neither probabilities nor logits"):
        _ = token_choice(4, torch.tensor([[0]]), torch.ones(1, 1)).router_probs
