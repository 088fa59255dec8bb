"""Hybrid router, section III-B5. Axes: T tokens, D hidden size, E experts."""

import math

import pytest
import torch


@pytest.mark.parametrize(("query_size", "temperature"), [(64, 1.0), (9, 0.2)])
def test_equals_the_plain_formula(query_size, temperature, make_router, plain, parameters_of, assert_equals_formula):
    router = make_router(
        "hybrid", hidden_size=13, num_experts=5, spread=0.5, query_size=query_size, temperature=temperature
    )
    parameters = parameters_of(router)
    share = plain.softmax(parameters["mixture_logits"])
    assert share[0] != share[1]

    def formula(token):
        linear = plain.softmax(plain.matvec(parameters["linear.weight"], token))
        query = plain.unit(plain.matvec(parameters["attention.query_proj.weight"], token))
        keys = [plain.unit(key) for key in parameters["attention.expert_keys"]]
        scale = 1 / (math.sqrt(query_size) * temperature)
        attention = plain.softmax([v * scale for v in plain.matvec(keys, query)])
        return [share[0] * p + share[1] * q for p, q in zip(linear, attention, strict=True)]

    assert_equals_formula(router, formula)


def test_has_the_papers_parameter_count(parameter_count):
    assert parameter_count("hybrid") == 55810  # linear 6144, attention 49664, two shares


def test_starts_half_and_half_and_can_become_either(make_router, random_tokens):
    router, tokens = make_router("hybrid"), random_tokens(9, 32)
    linear = router.linear.compute_router_probabilities(tokens)
    attention = router.attention.compute_router_probabilities(tokens)
    torch.testing.assert_close(router(tokens).router_probs, (linear + attention) / 2)
    with torch.no_grad():
        router.mixture_logits[0] = 100.0
    torch.testing.assert_close(router(tokens).router_probs, linear)


def test_shares_stay_a_mixture_in_bfloat16(make_router, random_tokens):
    # softmax(0.3, −0.2) = (0.6225, 0.3775); rounded to bfloat16 the two add up to 0.998
    router = make_router("hybrid")
    with torch.no_grad():
        router.mixture_logits.copy_(torch.tensor([0.3, -0.2]))
    probs = router.bfloat16()(random_tokens(9, 32).bfloat16()).router_probs
    torch.testing.assert_close(probs.sum(dim=-1), torch.ones(9), atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_has_the_papers_statistics(seed, paper_statistics):
    # SPEC, section 5: 2.0473 ± .0007 and .1689 ± .0005 over seeds; four of their standard deviations
    entropy, top_2 = paper_statistics("hybrid", seed)
    assert entropy == pytest.approx(2.0473, abs=4 * 0.0007)
    assert top_2 == pytest.approx(0.1689, abs=4 * 0.0005)
