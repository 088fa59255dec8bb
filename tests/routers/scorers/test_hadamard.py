"""Hadamard routers, section V. Axes: T tokens, D hidden size, E experts."""

import math

import pytest
import torch

from routers.metrics import tokens_per_expert

# Sylvester's matrix of order 4; order 12 and more are in test_hadamard_matrix.py
H4 = [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]


def test_constrained_form_equals_the_plain_formula(make_router, plain, assert_equals_formula):
    router = make_router("hadamard", hidden_size=4, num_experts=3)
    assert_equals_formula(
        router, lambda token: plain.softmax([v / 2 for v in plain.matvec(H4[1:], plain.layer_norm(token))])
    )


def test_unconstrained_form_equals_the_plain_formula(make_router, plain, assert_equals_formula):
    router = make_router("hadamard_unconstrained", hidden_size=4, num_experts=4)
    assert_equals_formula(router, lambda token: plain.softmax([v / 2 for v in plain.matvec(H4, token)]))


def test_unconstrained_is_an_option_and_a_name(make_router, random_tokens):
    tokens = random_tokens(9, 32)
    by_option = make_router("hadamard", constrained=False)
    by_name = make_router("hadamard_unconstrained")
    assert by_option.top_k == by_name.top_k == 8
    assert torch.equal(by_option(tokens).router_probs, by_name(tokens).router_probs)


def test_unconstrained_selects_all_experts_and_constrained_top_k(make_router, random_tokens):
    tokens = random_tokens(9, 32)
    everyone = torch.arange(8).expand(9, 8)
    unconstrained = make_router("hadamard_unconstrained", top_k=2)(tokens)
    assert torch.equal(unconstrained.selected_experts.sort(dim=-1).values, everyone)
    assert make_router("hadamard", top_k=2)(tokens).selected_experts.shape == (9, 2)


@pytest.mark.parametrize("seed", range(3))
def test_a_common_offset_collapses_the_unconstrained_form_alone(seed, make_router, random_tokens):
    # x ~ N(1, 1): row 0 over √768 gives 768/√768 + N(0, 1) = 27.7 ± 1, each other row 0 ± 1
    tokens = 1 + random_tokens(2048, 768, seed=seed)
    collapsed = make_router("hadamard_unconstrained", hidden_size=768)(tokens)
    assert torch.equal(collapsed.router_probs.argmax(dim=-1), torch.zeros(2048, dtype=torch.int64))
    assert float(collapsed.router_probs[:, 0].mean()) > 0.999

    spread = make_router("hadamard", hidden_size=768)(tokens)
    first_choices = tokens_per_expert(spread.router_probs.argmax(dim=-1, keepdim=True), 8)
    # 2048 tokens over 8 alike experts: 256 each, standard deviation √(2048 · 1/8 · 7/8) = 15
    assert bool((first_choices - 256).abs().max() < 5 * 15)


def test_the_constrained_form_ignores_offset_and_scale(make_router, random_tokens):
    router, tokens = make_router("hadamard"), random_tokens(9, 32)
    torch.testing.assert_close(router(50 * tokens + 7).router_probs, router(tokens).router_probs, atol=1e-3, rtol=0)


def test_logits_keep_the_tokens_energy(make_router, random_tokens):
    # H/√D is orthogonal, so with all rows (row 0 gives 0 after a LayerNorm) ‖logits‖ = ‖x̂‖ = √D
    logits = make_router("hadamard", num_experts=31)(random_tokens(9, 32)).router_logits
    torch.testing.assert_close(logits.norm(dim=-1), torch.full((9,), math.sqrt(32)), atol=1e-3, rtol=0)


def test_has_no_parameters_and_saves_nothing(parameter_count, make_router):
    assert parameter_count("hadamard") == parameter_count("hadamard_unconstrained") == 0
    assert make_router("hadamard").state_dict() == {}


def test_refuses_more_experts_than_rows(make_router):
    # 8 rows, row 0 left out: 7 experts at most; all 8 unconstrained
    make_router("hadamard", hidden_size=8, num_experts=7)
    make_router("hadamard_unconstrained", hidden_size=8, num_experts=8)
    with pytest.raises(ValueError, match="no rows 1 to 8"):
        make_router("hadamard", hidden_size=8, num_experts=8)
    with pytest.raises(ValueError, match="no rows 0 to 8"):
        make_router("hadamard_unconstrained", hidden_size=8, num_experts=9)
