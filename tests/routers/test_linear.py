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


def test_has_the_papers_parameter_count(parameter_count):
    assert parameter_count("linear") == 6144  # 768 · 8
    assert parameter_count("linear", bias=True) == 6144 + 8


def test_starts_from_a_small_normal_weight_and_a_zero_bias(make_router):
    router = make_router("linear", hidden_size=768, bias=True)
    assert float(router.weight.std()) == pytest.approx(0.02, rel=0.05)
    assert not router.bias.any()


@pytest.mark.parametrize("seed", range(3))
def test_has_the_papers_statistics(seed, paper_statistics):
    # SPEC, section 5: 1.9524 ± .0027 and .2127 ± .0011 over seeds; four of their standard deviations
    entropy, top_2 = paper_statistics("linear", seed)
    assert entropy == pytest.approx(1.9524, abs=4 * 0.0027)
    assert top_2 == pytest.approx(0.2127, abs=4 * 0.0011)
