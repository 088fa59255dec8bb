"""The updates of the selection's bias against vectors worked out by hand. Axes: T tokens, E experts, K per token."""

from __future__ import annotations

import pytest
import torch

from routers.balancing import quantile_bias, required_bias, updated_bias
from routers.balancing.quantile import Histogram
from routers.metrics import max_violation, tokens_per_expert


def test_the_sign_moves_the_bias():
    # counts (5, 2, 2, 3), mean 3: signs (−, +, +, 0)
    bias = torch.tensor([0.5, 0.0, 0.0, -0.25], dtype=torch.float64)
    moved = updated_bias(bias, torch.tensor([5, 2, 2, 3]))
    assert moved.tolist() == pytest.approx([0.499, 0.001, 0.001, -0.25], abs=1e-15)
    assert torch.equal(updated_bias(bias, torch.tensor([3, 3, 3, 3])), bias)
    # No mean is a float here: 7 of 3 experts, 2.33 each
    assert updated_bias(torch.zeros(3), torch.tensor([3, 2, 2]), 1.0).tolist() == [-1, 1, 1]
    with pytest.raises(ValueError, match=r"tokens_per_expert has shape \(2,\), expected the bias's \(3,\)"):
        updated_bias(torch.zeros(3), torch.tensor([1, 1]))


# T = 4, E = 2, K = 1: expert 0 is preferred by all
SCORES = torch.tensor([[0.9, 0.1], [0.8, 0.3], [0.7, 0.5], [0.6, 0.2]], dtype=torch.float64)


def test_the_bias_that_a_token_requires():
    # b = (0, 0): α is the second largest, (0.1, 0.3, 0.5, 0.2); r = α − s
    expected = [[-0.8, 0.0], [-0.5, 0.0], [-0.2, 0.0], [-0.4, 0.0]]
    assert torch.allclose(required_bias(SCORES, torch.zeros(2), 1), torch.tensor(expected, dtype=torch.float64))
    # b = (0, 0.25): ranked (0.9, 0.35), (0.8, 0.55), (0.7, 0.75), (0.6, 0.45); α = 0.35, 0.55, 0.7, 0.45
    bias = torch.tensor([0.0, 0.25], dtype=torch.float64)
    expected = [[-0.55, 0.25], [-0.25, 0.25], [0.0, 0.2], [-0.15, 0.25]]
    assert torch.allclose(required_bias(SCORES + bias, bias, 1), torch.tensor(expected, dtype=torch.float64))
    with pytest.raises(ValueError, match="top_k is 2, expected 1 to 1, below the number of experts"):
        required_bias(SCORES, torch.zeros(2), 2)


def test_the_quantile_balances_two_experts_at_once():
    # Medians of the columns: (−0.8, −0.5, −0.4, −0.2) -> −0.45, and 0; minus their mean −0.225: (−0.225, 0.225)
    bias = quantile_bias(SCORES, torch.zeros(2, dtype=torch.float64), 1)
    assert bias.tolist() == pytest.approx([-0.225, 0.225])
    # s_0 − s_1 = 0.8, 0.5, 0.2, 0.4 against 0.45: two tokens each.
    assert tokens_per_expert((SCORES + bias).topk(1).indices, 2).tolist() == [2, 2]
    # Balanced, it stays in the interval (0.2 to 0.25 on each side) in which nothing changes.
    again = quantile_bias(SCORES, bias, 1)
    assert tokens_per_expert((SCORES + again).topk(1).indices, 2).tolist() == [2, 2]


def test_the_quantile_leaves_padding_out():
    # The first two tokens: r_0 = −0.8, −0.5, the median −0.65; minus the mean: ±0.325
    mask = torch.tensor([1, 1, 0, 0])
    assert quantile_bias(SCORES, torch.zeros(2), 1, mask).tolist() == pytest.approx([-0.325, 0.325])
    with pytest.raises(ValueError, match="router_scores are of 0 tokens that count"):
        quantile_bias(SCORES, torch.zeros(2), 1, torch.zeros(4))


def test_the_quantile_takes_few_steps():
    """E = 8, K = 2, T = 512: three steps undo a strong preference."""
    generator = torch.Generator().manual_seed(0)
    scores = (torch.randn(512, 8, generator=generator) + torch.linspace(2, -2, 8)).sigmoid()
    bias, violations = torch.zeros(8), []
    for _ in range(4):
        violations.append(float(max_violation(tokens_per_expert((scores + bias).topk(2).indices, 8))))
        bias = quantile_bias(scores, bias, 2)
    assert violations[0] > 1.5
    assert violations[3] < 0.2 * violations[0]
    assert bias.sum().item() == pytest.approx(0, abs=1e-6)


def test_a_histogram_gives_the_quantile():
    # bias (0, 0): bins from −1 to 1, of 0.25. Required (−0.9, −0.9, −0.2, 0.6) of expert 0: counts 2 in bin 0, 1 in bin
    # 3, 1 in bin 6. Of expert 1 (0.1, 0.1, 0.1, 0.1): 4 in bin 4.
    histogram = Histogram.empty(torch.zeros(2), num_bins=8)
    required = torch.tensor([[-0.9, 0.1], [-0.9, 0.1], [-0.2, 0.1], [0.6, 0.1]])
    histogram.add(required[:1])
    histogram.add(required[1:])
    assert histogram.counts.tolist() == [[2, 0, 0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 4, 0, 0, 0]]
    # Share 1/4, one token: half of bin 0, −1 + 0.5 · 0.25 = −0.875; a quarter of bin 4, 0 + 0.25 · 0.25 = 0.0625
    assert histogram.quantile(0.25).tolist() == pytest.approx([-0.875, 0.0625])
    # Share 3/4, three tokens: all of bin 3, −1 + 4 · 0.25 = 0; three quarters of bin 4, 0.1875
    assert histogram.quantile(0.75).tolist() == pytest.approx([0.0, 0.1875])


def test_a_histogram_is_as_exact_as_its_bins():
    generator = torch.Generator().manual_seed(0)
    scores = (torch.randn(400, 6, generator=generator) + torch.linspace(1, -1, 6)).sigmoid()
    bias = torch.linspace(-0.1, 0.1, 6)
    histogram = Histogram.empty(bias)
    histogram.add(required_bias(scores + bias, bias, 2))
    quantile = histogram.quantile(2 / 6)
    exact = quantile_bias(scores, bias, 2)
    assert torch.allclose(quantile - quantile.mean(), exact, atol=2 * float(histogram.width))
