"""Linear router, equation (1). Axes: T tokens, D hidden size, E experts."""

import pytest
import torch


@pytest.mark.parametrize("bias", [False, True])
def test_equals_the_plain_formula(bias, make_router, plain, parameters_of, assert_equals_formula):
    router = make_router("linear", hidden_size=13, num_experts=5, spread=0.5, bias=bias)
    parameters = parameters_of(router)
    assert_equals_formula(
        router, lambda token: plain.softmax(plain.matvec(parameters["weight"], token, parameters.get("bias")))
    )


def test_two_experts_by_hand(make_router):
    router = make_router("linear", hidden_size=2, num_experts=2, top_k=1)
    router.load_state_dict({"weight": torch.tensor([[1.0, 0.0], [0.0, 1.0]])})
    # x = (ln 3, 0): logits ln 3 and 0, e^ℓ = 3 and 1, so p = 3/4 and 1/4
    probs = router(torch.tensor([[3.0, 1.0]]).log()).router_probs
    torch.testing.assert_close(probs, torch.tensor([[0.75, 0.25]]))


@pytest.mark.parametrize("norm_topk_prob", [True, False])
def test_logits_of_any_size_give_finite_weights(norm_topk_prob, make_router):
    # e^1000 is above and e^−1000 below what float32 holds; the differences per token are 0 and 1000. Logits of 1000 are
    # known to 6e-5 in float32, and so are their exponentials
    router = make_router("linear", hidden_size=2, num_experts=2, norm_topk_prob=norm_topk_prob)
    router.load_state_dict({"weight": torch.eye(2)})
    weights = router(torch.tensor([[1000.0, 1000.0], [-1000.0, -1000.0], [1000.0, 0.0]])).routing_weights
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]]), atol=6e-5, rtol=0)


def test_has_the_papers_parameter_count(parameter_count):
    assert parameter_count("linear") == 6144  # 768 · 8
    assert parameter_count("linear", bias=True) == 6144 + 8


def test_starts_from_a_small_normal_weight_and_a_zero_bias(make_router):
    router = make_router("linear", hidden_size=768, bias=True)
    assert float(router.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not router.bias.any()


@pytest.mark.parametrize("seed", range(3))
def test_has_the_papers_statistics(seed, paper_statistics):
    # SPEC, section 5: 1.9524 ± .0027 and .2127 ± .0011 over seeds; four of their standard deviations
    entropy, top_2 = paper_statistics("linear", seed)
    assert entropy == pytest.approx(1.9524, abs=4 * 0.0027)
    assert top_2 == pytest.approx(0.2127, abs=4 * 0.0011)
