"""Attention router, equations (2), (3) and (19). Axes: T tokens, D hidden size, E experts, Q query size."""

import math

import pytest
import torch


@pytest.mark.parametrize(("query_size", "temperature"), [(64, 1.0), (7, 1.0), (16, 0.05)])
def test_equals_the_plain_formula(query_size, temperature, make_router, plain, parameters_of, assert_equals_formula):
    router = make_router(
        "attention", hidden_size=13, num_experts=5, spread=0.5, query_size=query_size, temperature=temperature
    )
    parameters = parameters_of(router)

    def formula(token):
        query = plain.unit(plain.matvec(parameters["query_proj.weight"], token))
        keys = [plain.unit(key) for key in parameters["expert_keys"]]
        return plain.softmax([v / (math.sqrt(query_size) * temperature) for v in plain.matvec(keys, query)])

    assert_equals_formula(router, formula)


def test_has_the_papers_parameter_count(parameter_count):
    assert parameter_count("attention") == 49664  # 768 · 64 + 8 · 64
    assert parameter_count("attention", query_size=16) == 768 * 16 + 8 * 16


def test_logits_are_bounded_by_the_scale(make_router, random_tokens):
    # a cosine is within ±1, so a logit is within ±1/(√16 · 0.5) = ±0.5, however large the token
    router = make_router("attention", query_size=16, temperature=0.5, spread=1.0)
    logits = router(1e4 * random_tokens(50, 32)).router_logits
    assert bool((logits.abs() <= 0.5 + 1e-6).all())


def test_a_token_of_zeros_gets_uniform_probabilities(make_router):
    probs = make_router("attention")(torch.zeros(1, 32)).router_probs
    torch.testing.assert_close(probs, torch.full((1, 8), 1 / 8))


@pytest.mark.parametrize("options", [{"query_size": 0}, {"temperature": 0.0}, {"temperature": -1.0}])
def test_refuses_values_that_are_not_above_zero(options, make_router):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        make_router("attention", **options)


@pytest.mark.parametrize("seed", range(3))
def test_has_the_papers_statistics(seed, paper_statistics):
    # SPEC, section 5: .12724 ± .00004 over seeds, and an entropy of 2.07933
    entropy, top_2 = paper_statistics("attention", seed)
    assert entropy == pytest.approx(2.07933, abs=2e-5)
    assert top_2 == pytest.approx(0.12724, abs=4 * 0.00004)
