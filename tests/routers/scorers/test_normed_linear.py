"""Linear router on a normalised token. Axes: T tokens, D hidden size, E experts."""

import math

import torch


def test_equals_the_plain_formula(make_router, plain, parameters_of, assert_equals_formula):
    router = make_router("normed_linear", hidden_size=13, num_experts=5, spread=0.5)
    parameters = parameters_of(router)

    def formula(token):
        size = math.sqrt(sum(v * v for v in token) / 13 + 1e-6)
        scaled = [v / size * g / math.sqrt(13) for v, g in zip(token, parameters["scale"], strict=True)]
        return plain.softmax(plain.matvec(parameters["weight"], scaled))

    assert_equals_formula(router, formula)


def test_a_tokens_size_has_no_say(make_router, random_tokens):
    router, tokens = make_router("normed_linear", spread=0.3), random_tokens(9, 32)
    torch.testing.assert_close(router(100 * tokens).router_probs, router(tokens).router_probs, atol=1e-5, rtol=1e-4)


def test_gemmas_rule_multiplies_weights_by_a_factor_of_the_experts(make_router, random_tokens):
    router, tokens = make_router("normed_linear", spread=0.3, selection="gemma4"), random_tokens(9, 32)
    with torch.no_grad():
        router.expert_scale.copy_(torch.arange(8) + 1)
    routing = router(tokens)
    factors = routing.selected_experts + 1
    torch.testing.assert_close((routing.routing_weights / factors).sum(dim=1), torch.ones(9))


def test_has_a_matrix_and_a_scale(parameter_count):
    assert parameter_count("normed_linear") == 6144 + 768
    assert parameter_count("normed_linear", selection="gemma4") == 6144 + 768 + 8
