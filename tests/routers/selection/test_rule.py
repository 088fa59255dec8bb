"""Selection rules against vectors worked out by hand, and what they refuse.

Axes: T tokens, E experts, K experts per token.
"""

import copy
import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from routers import (
    SelectionRule,
    create_router,
    get_selection_rule,
    list_selection_rules,
    register_selection_rule,
)
from routers.reference_rule import reference_selection


def logits_of(*probabilities):
    """Logits whose sigmoids these are."""
    return torch.tensor([[math.log(p / (1 - p)) for p in probabilities]], dtype=torch.float64)


def dense(selection, num_experts):
    """Weights by expert, (T, E)."""
    return torch.zeros(len(selection.scores), num_experts, dtype=selection.routing_weights.dtype).scatter_add(
        1, selection.selected_experts, selection.routing_weights
    )


def select(rule, logits, top_k, **given):
    """The rule's weights of one token by expert as a list; the reference must say the same."""
    found = rule.select(logits, top_k, **given)
    weights = dense(found, logits.shape[1])[0].tolist()
    exact = reference_selection(rule, logits[0], top_k, given.get("bias"), given.get("expert_scale"))
    expected = [0.0] * logits.shape[1]
    for expert, weight in zip(exact.selected, exact.weights, strict=True):
        expected[expert] = float(weight)
    assert weights == pytest.approx(expected, abs=1e-12)
    kept = found.selected_experts[0] if found.kept is None else found.selected_experts[0][found.kept[0]]
    assert sorted(kept.tolist()) == sorted(exact.selected)
    return weights


def test_deepseek_v3_by_hand():
    # s = .9 .1 | .5 .4 | .8 .3 | .2 .6; s + b = .9 .1 | .5 .6 | .2 .3 | .2 .6. Sums of groups: 1.0, 1.1, .5, .8: the
    # first two stay, and of .9 .1 .5 .6 the best are experts 0 and 3, of scores .9 and .4 over 1.3, times 2.
    bias = torch.tensor([0, 0, 0, 0.2, -0.6, 0, 0, 0], dtype=torch.float64)
    logits = logits_of(0.9, 0.1, 0.5, 0.4, 0.8, 0.3, 0.2, 0.6)
    rule = get_selection_rule("deepseek_v3", num_groups=4, groups_kept=2, scale=2.0)
    weights = select(rule, logits, 2, bias=bias)
    assert weights == pytest.approx([1.8 / 1.3, 0, 0, 0.8 / 1.3, 0, 0, 0, 0])


def test_deepseek_v2_by_hand():
    # p = 4 1 | 3 3 | 2 2 | 0.5 0.5 over 16; the groups' largest: 4, 3, 2, .5; two stay; weights p, not over their sum
    parts = torch.tensor([[4, 1, 3, 2.5, 2, 2, 1, 0.5]], dtype=torch.float64)
    rule = get_selection_rule("deepseek_v2", num_groups=4, groups_kept=2, scale=16.0)
    assert select(rule, parts.log(), 3) == pytest.approx([4, 0, 3, 2.5, 0, 0, 0, 0])


def test_a_mask_of_zero_lets_another_group_in_where_ranks_are_negative():
    # s + b: −.1 −.2 | −.5 −.4: the first group stays, and yet the zeros of the other one are ranked before it
    rule = get_selection_rule("axk2", num_groups=2, groups_kept=1, scale=1.0, norm_topk_prob=False)
    bias = torch.tensor([-0.9, -0.9, -1.0, -0.8], dtype=torch.float64)
    logits = logits_of(0.8, 0.7, 0.5, 0.4)
    assert select(rule, logits, 2, bias=bias) == pytest.approx([0, 0, 0.5, 0.4])
    infinity = get_selection_rule(rule, group_mask="minus_infinity")
    assert select(infinity, logits, 2, bias=bias) == pytest.approx([0.8, 0.7, 0, 0])


def test_mistral_4_by_hand():
    # p = 5 0 | 3 3 | 4 1 over 16: sums of two 5, 6, 5 -> group 1 alone stays (by its maximum it would be group 0)
    parts = torch.tensor([[5, 0.1, 3, 3.1, 4, 0.8]], dtype=torch.float64)
    rule = get_selection_rule("mistral4", num_groups=3, groups_kept=1)
    assert select(rule, parts.log(), 2) == pytest.approx([0, 0, 3 / 6.1, 3.1 / 6.1, 0, 0])


def test_ernie_by_hand():
    # p = .5 .3 .2; + b .5 .3 .6: experts 2 and 0, weights .2 and .5 over .7
    logits, bias = torch.tensor([[0.5, 0.3, 0.2]]).double().log(), torch.tensor([0, 0, 0.4]).double()
    assert select(get_selection_rule("ernie4_5_moe"), logits, 2, bias=bias) == pytest.approx([5 / 7, 0, 2 / 7])
    # the sum is never taken to be less than least_sum
    clamped = get_selection_rule("ernie4_5_moe", least_sum=1.4)
    assert select(clamped, logits, 2, bias=bias) == pytest.approx([0.5 / 1.4, 0, 0.2 / 1.4])


def test_deepseek_v4_by_hand():
    # ln(1 + e^ℓ) = 4, 1, 9/4: s = 2, 1, 1.5; + b 2, 1, 3 -> experts 2 and 0: 1.5 · 1.5/3.5 and 1.5 · 2/3.5
    logits = torch.expm1(torch.tensor([[4, 1, 2.25]], dtype=torch.float64)).log()
    bias = torch.tensor([0, 0, 1.5], dtype=torch.float64)
    assert select(get_selection_rule("deepseek_v4"), logits, 2, bias=bias) == pytest.approx([3 / 3.5, 0, 2.25 / 3.5])


def test_kolibri_ranks_logits_and_weighs_by_their_sigmoid():
    # σ = .75 and .5 of the selected; by σ + b, .75 + 0, .8 and .5 + .3, expert 1 would have come in
    logits, bias = logits_of(0.75, 0.8, 0.5), torch.tensor([0.4, -1.0, 1.2], dtype=torch.float64)
    assert select(get_selection_rule("kolibri1"), logits, 2, bias=bias) == pytest.approx([0.6, 0, 0.4])


def test_a_soft_cap_changes_what_is_kept_of_the_logits():
    # 2 tanh(ℓ/2) with ℓ = 2 artanh(½) is 1: σ(1)/(σ(1) + σ(0))
    rule = get_selection_rule("laguna", soft_cap=2.0)
    weights = select(rule, torch.tensor([[2 * math.atanh(0.5), 0.0, -9.0]]).double(), 2)
    one = 1 / (1 + math.exp(-1))
    assert weights == pytest.approx([one / (one + 0.5), 0.5 / (one + 0.5), 0])


def test_top_k_then_softmax_and_its_mean():
    logits = torch.tensor([[1.0, 4.0, 2.0]]).double().log()
    assert select(get_selection_rule("gpt_oss"), logits, 2) == pytest.approx([0, 2 / 3, 1 / 3])
    assert select(get_selection_rule("granitemoe"), logits, 2) == pytest.approx([0, 2 / 3, 1 / 3])
    assert select(get_selection_rule("openai_privacy_filter"), logits, 2) == pytest.approx([0, 1 / 3, 1 / 6])


def test_llama_4_weighs_by_the_sigmoid_and_tells_logits_apart_whose_sigmoids_are_the_same():
    assert select(get_selection_rule("llama4"), logits_of(0.25, 0.5, 0.1), 1) == pytest.approx([0, 0.5, 0])
    large = torch.tensor([[40.0, 41.0, 39.0]])
    assert torch.sigmoid(large).unique().numel() == 1
    assert get_selection_rule("llama4").select(large, 1).selected_experts.tolist() == [[1]]


def test_gemma_4_has_a_factor_for_each_expert():
    logits, factors = torch.tensor([[1.0, 3.0]]).double().log(), torch.tensor([2.0, 0.5]).double()
    assert select(get_selection_rule("gemma4"), logits, 2, expert_scale=factors) == pytest.approx([0.5, 0.375])


@pytest.mark.parametrize(
    ("p", "weights"),
    [
        (0.3, [1, 0, 0, 0]),
        (0.499, [1, 0, 0, 0]),
        (0.6, [5 / 8, 3 / 8, 0, 0]),
        (0.9, [5 / 9.5, 3 / 9.5, 1.5 / 9.5, 0]),
        (1.0, [5 / 9.5, 3 / 9.5, 1.5 / 9.5, 0]),  # as many as K = 3 allows
    ],
)
def test_top_p_takes_the_least_number_whose_probabilities_reach_p(p, weights):
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).double().log()
    assert select(get_selection_rule("top_p", limit=p), logits, 3) == pytest.approx(weights)


def test_by_entropy_a_token_has_the_effective_number_of_experts():
    # e^H of ½ ½ is 2, of .25 four times 4, of one-hot 1, of .8 .2 e^0.5004 = 1.649, rounded 2
    logits = torch.tensor([[0.5, 0.5, 0, 0], [0.25] * 4, [1, 0, 0, 0], [0.8, 0.2, 0, 0]]).double().clamp_min(1e-30)
    found = get_selection_rule("entropy").select(logits.log(), 3)
    assert found.kept.sum(dim=1).tolist() == [2, 3, 1, 2]
    assert select(get_selection_rule("entropy"), logits[3:].log(), 3) == pytest.approx([0.8, 0.2, 0, 0])


def test_relu_routing_takes_those_above_zero_and_none_where_there_is_none():
    rule = get_selection_rule("relu")
    assert select(rule, torch.tensor([[1.5, -1.0, 0.5, 0.0]]).double(), 4) == pytest.approx([1.5, 0, 0.5, 0])
    nothing = torch.tensor([[-1.0, -2.0]]).double()
    assert select(rule, nothing, 2) == [0, 0]
    assert rule.probabilities(rule.score(nothing)).tolist() == [[0.5, 0.5]]
    assert select(get_selection_rule("relu", norm_topk_prob=True), nothing, 2) == [0, 0]
    assert select(SelectionRule(score_function="relu"), nothing, 2) == [0, 0]


def test_a_threshold_on_sigmoids():
    rule = SelectionRule(score_function="sigmoid", how_many="threshold", limit=0.35)
    assert select(rule, logits_of(0.9, 0.3, 0.6, 0.4), 3) == pytest.approx([9 / 19, 0, 6 / 19, 4 / 19])


def test_a_model_of_less_precision_has_its_scores_in_it():
    logits = torch.tensor([[1.0, 1.003, 0.5]]).bfloat16()
    rounded = get_selection_rule("lfm2_moe").select(logits, 2)
    assert rounded.scores.dtype == rounded.routing_weights.dtype == torch.bfloat16
    assert (
        get_selection_rule("deepseek_v3", num_groups=1, groups_kept=1).select(logits, 2).scores.dtype == torch.float32
    )


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (
            {"score_function": "sigmoyd"},
            "score_function is 'sigmoyd', expected one of: softmax, sigmoid, sqrt_softplus",
        ),
        ({"ranked_by": "b"}, "ranked_by is 'b', expected one of: scores, scores_plus_bias, logits, logits_plus_bias"),
        ({"num_groups": 0}, "num_groups is 0, expected at least 1"),
        ({"groups_kept": 0}, "groups_kept is 0, expected at least 1"),
        ({"num_groups": 2, "groups_kept": 3}, "groups_kept is 3, expected at most num_groups = 2"),
        ({"soft_cap": 0.0}, "soft_cap is 0.0, expected a finite number above 0"),
        ({"how_many": "top_p", "limit": 0.0}, "limit is 0.0, expected a probability above 0 and at most 1"),
        ({"how_many": "top_p", "limit": -0.5}, "limit is -0.5, expected a probability"),
        ({"how_many": "top_p"}, "limit is None, expected a probability"),
        ({"how_many": "threshold", "limit": math.nan}, "limit is nan, expected a finite number"),
        ({"limit": 0.5}, "limit is 0.5, expected none with how_many = 'top_k'"),
        ({"epsilon": -1.0}, "epsilon is -1.0, expected a finite number of at least 0"),
        ({"scale": math.inf}, "scale is inf, expected a finite number"),
    ],
)
def test_a_field_that_cannot_be_is_refused_in_one_line(fields, named):
    with pytest.raises(ValueError, match=named) as error:
        SelectionRule(**fields)
    assert "\n" not in str(error.value)


def test_sizes_that_the_groups_do_not_allow_are_refused():
    with pytest.raises(ValueError, match="num_groups is 3, expected a divisor of num_experts = 8"):
        create_router("linear", hidden_size=4, num_experts=8, top_k=2, num_groups=3)
    with pytest.raises(ValueError, match="top_k is 5, expected at most 4: 2 of 4 groups stay, of 2 experts each"):
        create_router("mlp", hidden_size=4, num_experts=8, top_k=5, num_groups=4, groups_kept=2)
    with pytest.raises(ValueError, match="top_k is 8, expected at most 4"):  # it selects all whatever top_k
        create_router("hadamard_unconstrained", hidden_size=16, num_experts=8, top_k=2, num_groups=4, groups_kept=2)


def test_a_bias_of_another_size_or_that_is_not_taken_is_refused():
    with pytest.raises(ValueError, match=r"bias has shape \(3,\), expected \(4,\), one for each expert"):
        get_selection_rule("minimax_m2").select(torch.zeros(2, 4), 1, bias=torch.zeros(3))
    with pytest.raises(ValueError, match="bias is given, expected none"):
        get_selection_rule("softmax").select(torch.zeros(2, 4), 1, bias=torch.zeros(4))
    with pytest.raises(ValueError, match=r"expert_scale has shape \(1, 4\), expected \(4,\)"):
        get_selection_rule("gemma4").select(torch.zeros(2, 4), 1, expert_scale=torch.ones(1, 4))


def test_an_unknown_rule_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match="unknown selection rule 'deepseek_v9'; there are: ") as error:
        create_router("linear", hidden_size=4, num_experts=4, top_k=1, selection="deepseek_v9")
    assert str(error.value).endswith(", ".join(list_selection_rules()))
    with pytest.raises(TypeError, match="LinearRouter has no such option, and a selection rule has no field 'grups'"):
        create_router("linear", hidden_size=4, num_experts=4, top_k=1, grups=2)


def test_the_hash_selects_by_itself():
    with pytest.raises(ValueError, match="expected none: HashRouter selects by itself"):
        create_router("hash", hidden_size=4, num_experts=4, top_k=1, selection="llama4")


def test_a_rule_is_registered_once_and_found_by_its_aliases():
    rule = get_selection_rule("glm4_moe", scale=3.0)
    assert register_selection_rule("mine", rule, aliases=("mine_too",)) is rule
    assert register_selection_rule("mine", rule) is rule
    assert get_selection_rule("mine_too") is rule
    assert {"mine"} == {"mine", "mine_too"} & set(list_selection_rules())
    for name in ("mine", "mine_too", "softmax", "mixtral"):
        with pytest.raises(ValueError, match=f"{name!r} is already registered, as SelectionRule"):
            register_selection_rule(name, SelectionRule(scale=7.0))
    with pytest.raises(ValueError, match="must consist of letters"):
        register_selection_rule("a b", rule)
    with pytest.raises(TypeError, match="is no SelectionRule"):
        register_selection_rule("other", {"scale": 1.0})


def test_a_router_takes_a_rule_with_changed_fields_and_keeps_its_bias_in_float32():
    router = create_router(
        "mlp", hidden_size=16, num_experts=16, top_k=4, selection="deepseek_v3", num_groups=8, groups_kept=4
    )
    assert router.selection == get_selection_rule("deepseek_v3")
    assert "selection=SelectionRule(score_function='sigmoid', ranked_by='scores_plus_bias', num_groups=8" in repr(
        router
    )
    bias = router.state_dict()["selection_bias"]
    assert (tuple(bias.shape), bias.dtype, bool(bias.any())) == ((16,), torch.float32, False)
    assert "selection_bias" not in dict(router.named_parameters())
    router.selection_bias.fill_(0.3001)
    router.to(torch.bfloat16)
    assert router.selection_bias.dtype == torch.float32
    assert float(router.selection_bias[0]) == pytest.approx(0.3001, abs=1e-7)
    assert router(torch.randn(5, 16)).routing_weights.dtype == torch.float32
    assert router.double().selection_bias.dtype == torch.float64


def test_the_default_has_no_bias_no_factor_and_the_keys_that_it_had():
    router = create_router("linear", hidden_size=4, num_experts=4, top_k=1)
    assert list(router.state_dict()) == ["weight"]
    assert "selection" not in repr(router)


def test_a_routing_carries_what_the_rule_made():
    router = create_router("linear", hidden_size=16, num_experts=8, top_k=3, selection="minimax_m2")
    router.selection_bias.copy_(torch.linspace(-1, 1, 8))
    routing = router(torch.randn(9, 16))
    torch.testing.assert_close(routing.router_scores, torch.sigmoid(routing.router_logits))
    torch.testing.assert_close(routing.ranked, routing.router_scores + router.selection_bias)
    torch.testing.assert_close(
        routing.router_probs, routing.router_scores / routing.router_scores.sum(dim=1, keepdim=True)
    )
    assert torch.equal(routing.selected_experts, routing.ranked.topk(3).indices)
    assert int(routing.unserved_tokens) == 0
    plain = create_router("linear", hidden_size=16, num_experts=8, top_k=3)(torch.randn(9, 16))
    assert plain.scores is plain.ranks is plain.kept is None
    assert torch.equal(plain.ranked, plain.router_logits)
    assert torch.equal(plain.router_scores, plain.router_probs)


def test_a_slot_that_is_not_kept_is_not_counted_and_a_token_without_one_is_unserved():
    router = create_router("linear", hidden_size=4, num_experts=4, top_k=4, selection="relu")
    with torch.no_grad():
        router.weight.copy_(torch.eye(4))
    tokens = torch.tensor([[1.0, 2, -1, -1], [-1, -1, -1, -1], [-1, 3, -1, 4]])
    routing = router(tokens)
    assert routing.tokens_per_expert.tolist() == [1, 2, 0, 1]
    assert routing.kept.sum(dim=1).tolist() == [2, 0, 2]
    assert int(routing.unserved_tokens) == 1
    assert not bool(routing.routing_weights[~routing.kept].any())


RULES = st.builds(
    SelectionRule,
    score_function=st.sampled_from(["softmax", "sigmoid", "sqrt_softplus", "relu", "identity"]),
    soft_cap=st.sampled_from([None, 1.5]),
    ranked_by=st.sampled_from(["scores", "scores_plus_bias", "logits", "logits_plus_bias"]),
    num_groups=st.just(4),
    groups_kept=st.sampled_from([None, 2, 3]),
    group_score=st.sampled_from(["max", "top2_sum"]),
    group_mask=st.sampled_from(["minus_infinity", "zero"]),
    weighed_by=st.sampled_from(["scores", "softmax", "sigmoid"]),
    norm_topk_prob=st.booleans(),
    epsilon=st.sampled_from([0.0, 0.1]),
    least_sum=st.sampled_from([0.0, 2.0]),
    scale=st.sampled_from([1.0, 2.5]),
    mean_of_experts=st.booleans(),
    expert_scale=st.booleans(),
)
COUNTING = st.sampled_from(
    [
        {"how_many": "top_k"},
        {"how_many": "top_p", "limit": 0.5},
        {"how_many": "threshold", "limit": 0.3},
        {"how_many": "entropy"},
    ]
)


@given(rule=RULES, counting=COUNTING, seed=st.integers(0, 999), top_k=st.integers(1, 6))
@settings(max_examples=60)
def test_any_combination_of_fields_is_what_the_reference_makes_of_it(rule, counting, seed, top_k, random_tokens):
    rule = get_selection_rule(rule, **counting)
    logits, bias, factors = (random_tokens(*shape, seed=seed).double() for shape in ((4, 12), (12,), (12,)))
    learned = (bias if rule.has_bias else None, factors if rule.expert_scale else None)
    found = rule.select(logits, top_k, *learned)
    weights, probabilities = dense(found, 12), rule.probabilities(found.scores)
    for row in range(4):
        exact = reference_selection(rule, logits[row], top_k, *learned)
        torch.testing.assert_close(found.scores[row], exact.scores)
        torch.testing.assert_close(found.ranked[row], exact.ranked)
        torch.testing.assert_close(probabilities[row], exact.probs)
        if exact.margin > 1e-9:
            expected = dict(zip(exact.selected, exact.weights, strict=True))
            assert weights[row].tolist() == pytest.approx([float(expected.get(e, 0.0)) for e in range(12)], abs=1e-9)
            kept = torch.ones(top_k).bool() if found.kept is None else found.kept[row]
            assert sorted(found.selected_experts[row][kept].tolist()) == sorted(exact.selected)


@pytest.mark.parametrize("name", ["linear", "mlp", "hybrid", "mlp_hadamard"])
def test_a_rule_whose_product_is_in_float32_has_it_in_a_router_that_is_in_less(name, make_router, random_tokens):
    router, tokens = make_router(name, spread=0.3, selection="flint").bfloat16(), random_tokens(20, 32).bfloat16()
    called = []
    router.register_forward_hook(lambda *_: called.append(1))
    found, exact = router(tokens), copy.deepcopy(router).float()(tokens.float())
    assert called == [1, 1]  # of the router and of its copy: once each
    assert torch.equal(found.routing_weights, exact.routing_weights)
    assert torch.equal(found.selected_experts, exact.selected_experts)
    rounded = make_router(name, spread=0.3, selection="lfm2_moe").bfloat16()(tokens)
    assert not torch.equal(rounded.router_scores.float(), found.router_scores)
    found.routing_weights.sum().backward()
    assert all(parameter.grad.dtype == torch.bfloat16 for parameter in router.parameters())
    assert next(router.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("rule", list_selection_rules())
def test_a_router_in_half_precision_has_probabilities_on_the_simplex(rule, make_router, random_tokens, assert_simplex):
    router = make_router("linear", num_experts=16, top_k=4, spread=0.3, selection=rule).bfloat16()
    routing = router(random_tokens(20, 32).bfloat16())
    assert_simplex(routing.router_probs)
    assert routing.routing_weights.dtype == torch.float32


def test_a_rule_with_groups_is_exported_for_any_number_of_tokens():
    class Weights(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.router = create_router("linear", hidden_size=8, num_experts=16, top_k=4, selection="deepseek_v3")

        def forward(self, tokens):
            return self.router(tokens).routing_weights

    module, shapes = Weights().eval(), ({0: torch.export.Dim("tokens")},)
    exported = torch.export.export(module, (torch.randn(9, 8),), dynamic_shapes=shapes).module()
    tokens = torch.randn(5, 8)
    assert torch.equal(exported(tokens), module(tokens))


def test_a_single_weight_that_is_always_the_same_is_warned_of():
    router = create_router("linear", hidden_size=4, num_experts=4, top_k=1, selection="flint")
    with pytest.warns(UserWarning, match="top_k = 1 and weights that sum to one"):
        router(torch.randn(3, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create_router("linear", hidden_size=4, num_experts=4, top_k=1, selection="llama4")(torch.randn(3, 4))
