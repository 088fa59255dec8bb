"""MLP router, equations (4) and (5). Axes: T tokens, D hidden size, E experts, M width."""

import pytest
import torch


@pytest.mark.parametrize("width", [128, 1, 9])
def test_equals_the_plain_formula(width, make_router, plain, parameters_of, assert_equals_formula):
    router = make_router("mlp", hidden_size=13, num_experts=5, spread=0.5, width=width)
    parameters = parameters_of(router)

    def formula(token):
        normed = plain.layer_norm(token, parameters["norm.weight"], parameters["norm.bias"])
        hidden = plain.gelu(plain.matvec(parameters["hidden_proj.weight"], normed, parameters["hidden_proj.bias"]))
        return plain.softmax(plain.matvec(parameters["logit_proj.weight"], hidden, parameters["logit_proj.bias"]))

    assert_equals_formula(router, formula)


def test_has_the_papers_parameter_count(parameter_count):
    # LayerNorm 2 · 768, hidden 768 · 128 + 128, logits 128 · 8 + 8
    assert parameter_count("mlp") == 101000
    assert parameter_count("mlp", width=16) == 2 * 768 + 768 * 16 + 16 + 16 * 8 + 8


def test_the_scale_and_offset_of_a_token_do_not_matter(make_router, random_tokens):
    router, tokens = make_router("mlp", spread=0.3), random_tokens(9, 32)
    torch.testing.assert_close(router(50 * tokens + 7).router_probs, router(tokens).router_probs, atol=1e-3, rtol=0)


def test_refuses_a_width_of_zero(make_router):
    with pytest.raises(ValueError, match="width is 0"):
        make_router("mlp", width=0)


@pytest.mark.parametrize("seed", range(3))
def test_has_the_papers_statistics(seed, paper_statistics):
    # SPEC, section 5: 2.0770 ± .0002 and .1358 ± .0004 over seeds; four of their standard deviations
    entropy, top_2 = paper_statistics("mlp", seed)
    assert entropy == pytest.approx(2.0770, abs=4 * 0.0002)
    assert top_2 == pytest.approx(0.1358, abs=4 * 0.0004)
