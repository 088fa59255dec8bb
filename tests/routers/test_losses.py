"""Auxiliary losses on small batches, the arithmetic beside them. Axes: T tokens, E experts, K experts per token."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routers import create_router, list_routers, losses

# T = 2, E = 2, K = 1: token 0 -> expert 0, token 1 -> expert 0
PROBS = torch.tensor([[0.9, 0.1], [0.6, 0.4]])
SELECTED = torch.tensor([[0], [0]])
# f = (1, 0); P = (0.75, 0.25)

BALANCED_PROBS = torch.full((8, 8), 1 / 8)
# each of 8 experts twice among 8 tokens with K = 2
BALANCED_SELECTED = torch.tensor([[e, (e + 1) % 8] for e in range(8)])


def test_importance_is_the_mean_probability():
    torch.testing.assert_close(losses.importance(PROBS), torch.tensor([0.75, 0.25]))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # α Σ f P = 0.01 (1 · 0.75 + 0 · 0.25)
        (losses.load_balancing_loss, 0.0075),
        # α E Σ f P² = 0.01 · 2 · 0.75²
        (losses.importance_squared_loss, 0.01125),
        # α E Σ f P = 2 · 0.0075; K = 1, so both scales agree
        (losses.switch_loss, 0.015),
        (losses.switch_loss_per_token, 0.015),
    ],
)
def test_one_expert_takes_all(loss, expected):
    assert float(loss(PROBS, SELECTED)) == pytest.approx(expected, rel=1e-6)
    assert float(loss(PROBS, SELECTED, alpha=1.0)) == pytest.approx(100 * expected, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # 0.01 · 8 · (1/8 · 1/8), the value that the paper prints
        (losses.load_balancing_loss, 0.00125),
        # 0.01 · 8 · 8 · (1/8 · 1/64)
        (losses.importance_squared_loss, 0.00125),
        # 0.01 · 8 · 8 · (1/8 · 1/8): Megatron-LM, 1 before α
        (losses.switch_loss, 0.01),
        # twice that for K = 2: Hugging Face, K before α
        (losses.switch_loss_per_token, 0.02),
    ],
)
def test_balance(loss, expected):
    assert float(loss(BALANCED_PROBS, BALANCED_SELECTED)) == pytest.approx(expected, rel=1e-6)


def test_an_expert_without_a_token_keeps_its_place():
    # E = 3, expert 1 idle: f = (1/2, 0, 1/2), P = (0.4, 0.3, 0.3); 0.01 (0.20 + 0 + 0.15)
    probs = torch.tensor([[0.5, 0.3, 0.2], [0.3, 0.3, 0.4]])
    assert float(losses.load_balancing_loss(probs, torch.tensor([[0], [2]]))) == pytest.approx(0.0035, rel=1e-6)


def test_the_gradient_is_alpha_times_the_load_over_tokens():
    # ∂(α Σ f P)/∂p_te = α f_e / T with f = (1, 0), T = 2
    probs = PROBS.clone().requires_grad_()
    losses.load_balancing_loss(probs, SELECTED).backward()
    torch.testing.assert_close(probs.grad, torch.tensor([[0.005, 0.0], [0.005, 0.0]]))


def test_z_loss_by_hand():
    # logsumexp(0, 0) = ln 2; logsumexp(ln 3, 0) = ln 4 = 2 ln 2; mean of the squares: (1 + 4)/2 · (ln 2)²
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    assert float(losses.z_loss(logits)) == pytest.approx(2.5 * math.log(2) ** 2, rel=1e-6)
    assert float(losses.z_loss(torch.zeros(5, 8))) == pytest.approx(math.log(8) ** 2, rel=1e-6)


def test_z_loss_of_a_mask_is_that_of_what_is_left():
    # logsumexp(1, 1, −∞) = 1 + ln 2
    logits = torch.tensor([[1.0, 1.0, -torch.inf]], requires_grad=True)
    loss = losses.z_loss(logits)
    loss.backward()
    assert loss.item() == pytest.approx((1 + math.log(2)) ** 2, rel=1e-6)
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("name", list_routers())
def test_a_z_loss_is_that_of_logits_or_there_is_none(name):
    with torch.no_grad():
        routing = create_router(name, hidden_size=16, num_experts=8, top_k=2)(torch.randn(5, 16))
    if routing.logits is None:
        with pytest.raises(ValueError, match="router_logits is None: of a router that has probabilities alone"):
            losses.z_loss(routing.logits)
        assert name not in ("linear", "mlp", "attention")
    else:
        assert float(losses.z_loss(routing.logits)) > 0.1
        assert name not in ("hybrid", "hash")


def test_a_loss_of_other_tokens_probabilities_is_refused():
    for loss in (losses.load_balancing_loss, losses.importance_squared_loss, losses.switch_loss_per_token):
        with pytest.raises(ValueError, match="router_probs are of 2 tokens, selected_experts of 1"):
            loss(PROBS, SELECTED[:1])


@given(num_tokens=st.integers(1, 20), num_experts=st.integers(2, 9), top_k=st.integers(1, 2), seed=st.integers(0, 99))
def test_load_balancing_is_at_most_alpha_and_alpha_over_e_if_even(num_tokens, num_experts, top_k, seed):
    # f and P are both averages over tokens; the loss lies in [0, α] and an even P gives α/E whatever f
    probs = torch.softmax(torch.randn(num_tokens, num_experts, generator=torch.Generator().manual_seed(seed)), dim=-1)
    selected = probs.topk(top_k).indices
    assert 0 <= float(losses.load_balancing_loss(probs, selected)) <= 0.01 * (1 + 1e-6)
    even = torch.full_like(probs, 1 / num_experts)
    assert float(losses.load_balancing_loss(even, selected)) == pytest.approx(0.01 / num_experts, rel=1e-5)
