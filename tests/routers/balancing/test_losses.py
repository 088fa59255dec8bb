"""The balancing losses against vectors worked out by hand.

Axes: B batch, S sequence, T tokens, E experts, K experts per token.
"""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from routers.balancing import counted_loss, next_coefficient, relu_l1_loss, sequence_losses, simbal_loss

# T = 2, E = 2: P = (0.75, 0.25)
PROBS = torch.tensor([[0.9, 0.1], [0.6, 0.4]], dtype=torch.float64)


def test_the_loss_of_a_batch():
    # n = (3, 1), f = (3/4, 1/4): E Σ f P = 2 (0.75 · 0.75 + 0.25 · 0.25) = 2 · 0.625
    assert float(counted_loss(torch.tensor([3, 1]), PROBS)) == pytest.approx(1.25)
    # These are two of four tokens: share = 1/4
    assert float(counted_loss(torch.tensor([3, 1]), PROBS, 0.25)) == pytest.approx(0.625)
    # At balance 1 whatever P, which sums to one; without a count 0.
    assert float(counted_loss(torch.tensor([5, 5]), PROBS)) == pytest.approx(1.0)
    assert float(counted_loss(torch.tensor([0, 0]), PROBS)) == 0
    assert gradcheck(lambda probs: counted_loss(torch.tensor([3, 1]), probs), PROBS.clone().requires_grad_())


# B = 2, S = 2, E = 3, K = 1: scores of a sigmoid, which do not sum to one.
SCORES = torch.tensor(
    [
        [[0.8, 0.2, 0.0], [0.6, 0.2, 0.2]],
        [[0.1, 0.2, 0.1], [0.3, 0.3, 0.6]],
    ],
    dtype=torch.float64,
)
SELECTED = torch.tensor([[[0], [0]], [[1], [2]]])


def test_the_loss_of_each_sequence():
    # First: s/Σs = (0.8, 0.2, 0), (0.6, 0.2, 0.2); P = (0.7, 0.2, 0.1); n = (2, 0, 0); f = E/(K T) n = 3/2 n
    #   Σ f P = 3 · 0.7 = 2.1
    # Second: s/Σs = (0.25, 0.5, 0.25), (0.25, 0.25, 0.5); P = (0.25, 0.375, 0.375); n = (0, 1, 1); f = (0, 1.5, 1.5)
    #   Σ f P = 1.5 · 0.75 = 1.125
    assert sequence_losses(SCORES, SELECTED).tolist() == pytest.approx([2.1, 1.125])


def test_the_loss_of_each_sequence_without_padding():
    # First without its second token: P = (0.8, 0.2, 0), T = 1, f = (3, 0, 0): 2.4. Second has no token that counts.
    mask = torch.tensor([[True, False], [False, False]])
    assert sequence_losses(SCORES, SELECTED, mask).tolist() == pytest.approx([2.4, 0.0])
    assert sequence_losses(SCORES, SELECTED, mask.long()).tolist() == pytest.approx([2.4, 0.0])


def test_the_loss_of_a_balanced_sequence_is_one():
    # K = 2 of E = 4 and S = 2: each expert once. f = E/(K T) = 4/4 = 1, and P sums to one.
    scores = torch.rand(1, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    balanced = torch.tensor([[[0, 3], [1, 2]]])
    assert sequence_losses(scores, balanced).item() == pytest.approx(1.0)
    uneven = torch.tensor([[[0, 3], [0, 2]]])  # where the gradient is not that of a constant
    assert gradcheck(lambda s: sequence_losses(s, uneven), scores.requires_grad_())


def test_a_token_that_no_expert_scores_is_no_nan():
    # A ReLU's: P of the first token is uniform, 1/3 each; n = (1, 0, 0), f = (3, 0, 0): 1
    assert sequence_losses(torch.zeros(1, 1, 3), torch.tensor([[[0]]])).item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("selected", "mask", "line"),
    [
        (SELECTED[:1], None, r"selected_experts have shape \(1, 2, 1\), expected \(2, 2, K\)"),
        (SELECTED, torch.ones(2, 3), r"mask has shape \(2, 3\), expected \(2, 2\)"),
    ],
)
def test_sequences_of_other_shapes_are_refused(selected, mask, line):
    with pytest.raises(ValueError, match=line):
        sequence_losses(SCORES, selected, mask)


def test_simbal():
    # W = [[1, 0], [0.5, 0.5]]: W Wᵀ = [[1, 0.5], [0.5, 0.5]], minus I = [[0, 0.5], [0.5, −0.5]]: 1.5
    weight = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    assert float(simbal_loss(weight)) == pytest.approx(1.5)
    # Orthonormal 0, nothing E; entry by entry and not the largest column, which would be 1 of zeros.
    assert float(simbal_loss(torch.eye(3, 5))) == 0
    assert float(simbal_loss(torch.zeros(3, 5))) == 3
    generator = torch.Generator().manual_seed(0)
    assert gradcheck(simbal_loss, torch.randn(3, 5, dtype=torch.float64, generator=generator).requires_grad_())
    with pytest.raises(ValueError, match=r"weight has shape \(3,\), expected \(E, D\)"):
        simbal_loss(torch.zeros(3))


# T = 2, E = 3; R = (0.5, 0.2, 0), (0.3, 0, 0)
RELU = torch.tensor([[0.5, 0.2, -1.0], [0.3, -0.1, 0.0]], dtype=torch.float64)


def test_the_l1_of_a_relu_router():
    # K = 1: n = (2, 1, 0); f = E/(K T) n = 1.5 n = (3, 1.5, 0); Σ_t R = (0.8, 0.2, 0); (3 · 0.8 + 1.5 · 0.2) / 2 = 1.35
    assert float(relu_l1_loss(RELU, 1)) == pytest.approx(1.35)
    # The first token alone: n = (1, 1, 0); f = 3 n; 3 · 0.5 + 3 · 0.2 = 2.1
    assert float(relu_l1_loss(RELU, 1, torch.tensor([True, False]))) == pytest.approx(2.1)
    # At balance: K = 2 of E = 2, both active: f = 1, the mean of Σ R, here (0.3 + 0.7) / 2
    assert float(relu_l1_loss(torch.tensor([[0.1, 0.2], [0.3, 0.4]]), 2)) == pytest.approx(0.5)
    away = torch.tensor([[0.5, 0.2, -1.0], [0.3, -0.1, 0.4]], dtype=torch.float64)  # from the kink at 0
    assert gradcheck(lambda scores: relu_l1_loss(scores, 1), away.requires_grad_())


def test_the_coefficient_follows_the_sparsity():
    # Too dense (0.5 < 0.75): up by α; too sparse: down; at the target: as it was.
    assert next_coefficient(1e-8, 0.5, 0.75) == pytest.approx(1.2e-8)
    assert next_coefficient(1.2e-8, 0.9, 0.75) == pytest.approx(1e-8)
    assert next_coefficient(1e-8, 0.75, 0.75) == 1e-8
