"""Noisy top-k router. Axes: T tokens, D hidden size, E experts."""

import pytest
import torch

from routers.reference.check import check_router


def test_equals_the_plain_formula_in_evaluation(make_router, plain, parameters_of, assert_equals_formula):
    router = make_router("noisy_top_k", hidden_size=13, num_experts=5, spread=0.5)
    weight = parameters_of(router)["weight"]
    assert_equals_formula(router, lambda token: plain.softmax(plain.matvec(weight, token)))


def test_in_training_the_noise_is_added_before_the_softmax(make_router, plain, parameters_of, random_tokens):
    router, tokens = make_router("noisy_top_k", hidden_size=13, num_experts=5, spread=0.5).train(), random_tokens(7, 13)
    torch.manual_seed(3)
    found = router(tokens)
    torch.manual_seed(3)
    noise = (torch.randn(7, 5) / 5).double().tolist()  # a standard deviation of 1/E
    weight = parameters_of(router)["weight"]
    for t, token in enumerate(tokens.double().tolist()):
        logits = [v + n for v, n in zip(plain.matvec(weight, token), noise[t], strict=True)]
        assert found.router_probs[t].tolist() == pytest.approx(plain.softmax(logits), abs=1e-5)
        best = sorted(range(5), key=lambda e, of=logits: -of[e])[:2]
        assert found.selected_experts[t].tolist() == best


@pytest.mark.parametrize("rule", [None, "deepseek_v3", "gpt_oss"])
def test_in_training_it_equals_a_reference_of_the_same_seed(rule, make_router, random_tokens):
    router = make_router("noisy_top_k", num_experts=16, spread=0.3, selection=rule).train()
    check_router(router, random_tokens(12, 32), seed=4)


def test_its_noise_is_seeded_and_new_in_every_call(make_router, random_tokens):
    router, tokens = make_router("noisy_top_k", noise=2.0).train(), random_tokens(4000, 32)
    torch.manual_seed(0)
    first, second = router(tokens).logits, router(tokens).logits
    torch.manual_seed(0)
    assert torch.equal(router(tokens).logits, first)
    assert not torch.equal(first, second)
    noise = (first - router.eval()(tokens).logits).detach()
    assert float(noise.std()) == pytest.approx(2 / 8, rel=0.02)
    assert torch.equal(router(tokens).logits, router(tokens).logits)


def test_has_one_matrix(parameter_count):
    assert parameter_count("noisy_top_k") == 6144


def test_a_negative_noise_is_refused(make_router):
    with pytest.raises(ValueError, match=r"noise is -0\.5, expected at least 0"):
        make_router("noisy_top_k", noise=-0.5)
