"""Linear router, equation (1). Axes: T tokens, D hidden size, E experts."""

import pytest
import torch
from torch.nn.utils import parametrize


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


PLAIN = {
    "the softmax": {},
    "not normalised": {"norm_topk_prob": False},
    "a bias": {"bias": True},
    "one expert": {"top_k": 1, "norm_topk_prob": False},
}
BESIDES = {
    "another rule": {"selection": "glm4_moe"},
    "a scale": {"scale": 2.5},
    "straight through": {"straight_through": True},
    "a look at what is not finite": {"check_finite": True},
}


@pytest.mark.parametrize("options", [*PLAIN.values(), *BESIDES.values()], ids=[*PLAIN, *BESIDES])
@pytest.mark.parametrize("num_tokens", [0, 1, 15])
def test_few_tokens_are_routed_as_they_are_one_step_after_the_other(options, num_tokens, make_router, random_tokens):
    router, tokens = make_router("linear", spread=0.1, **options), random_tokens(num_tokens, 32)
    with torch.no_grad():
        found, expected = router(tokens), router.select(logits=router.checked_logits(tokens))
    assert type(found) is type(expected)
    for name in ("selected_experts", "routing_weights", "router_logits", "router_probs", "router_scores", "ranked"):
        assert torch.equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("options", [PLAIN["the softmax"], *BESIDES.values()], ids=["the softmax", *BESIDES])
def test_few_tokens_take_the_short_way_where_nothing_else_is_asked_for(
    options, make_router, random_tokens, monkeypatch
):
    router, tokens, steps = make_router("linear", **options), random_tokens(3, 32), []
    monkeypatch.setattr(router, "checked_logits", lambda tokens: steps.append(tokens) or router.weight[:, :1].t()[:0])
    with torch.no_grad():
        router(tokens)
    assert bool(steps) is bool(options)


def test_a_weight_that_is_no_parameter_of_the_router_takes_the_long_way(make_router, random_tokens):
    router, tokens = make_router("linear"), random_tokens(3, 32)
    twice = make_router("linear")
    with torch.no_grad():
        twice.weight.mul_(2)
    parametrize.register_parametrization(router, "weight", _Twice())
    with torch.no_grad():
        torch.testing.assert_close(router(tokens).router_logits, twice(tokens).router_logits)


class _Twice(torch.nn.Module):
    def forward(self, weight):
        return weight * 2


def test_a_gradient_a_mask_and_another_shape_take_the_long_way(make_router, random_tokens):
    router, tokens = make_router("linear"), random_tokens(3, 32)
    assert router(tokens).routing_weights.grad_fn is not None
    with torch.no_grad():
        assert not router(tokens, mask=torch.tensor([True, False, True])).kept[1].any()
        assert router(tokens.view(1, 3, 32)).selected_experts.shape == (3, 2)
        with pytest.raises(ValueError, match=r"shape \(3, 31\), expected \(tokens, 32\)"):
            router(tokens[:, :31])
