"""Selection rules against vectors worked out by hand, and any rule against the float64 reference.

Axes: T tokens, E experts, K experts per token.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from routers import SelectionRule, get_selection_rule
from routers.reference.rule import reference_selection
from routers.selection import use_selection_path


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
@settings(max_examples=150)
def test_any_combination_of_fields_is_what_the_reference_makes_of_it(rule, counting, seed, top_k, random_tokens):
    rule = get_selection_rule(rule, **counting)
    logits, bias, factors = (random_tokens(*shape, seed=seed).double() for shape in ((4, 12), (12,), (12,)))
    learned = (bias if rule.has_bias else None, factors if rule.expert_scale else None)
    found = rule.select(logits, top_k, *learned)
    weights, probabilities = dense(found, 12), rule.probabilities(found.scores)
    assert torch.equal(rule.score(logits), found.scores)
    assert torch.equal(rule.rank(logits, learned[0]), found.ranked)
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


@pytest.mark.parametrize(
    ("dtype", "low"), [(torch.float32, -200.0), (torch.float16, -30.0), (torch.float32, -math.inf)]
)
def test_a_score_that_is_rounded_to_zero_has_a_gradient_of_zero(dtype, low):
    logits = torch.tensor([[2.0, low, 1.0]], dtype=dtype, requires_grad=True)
    selection = get_selection_rule("deepseek_v4", norm_topk_prob=False, scale=1.0).select(logits, 2)
    selection.routing_weights.sum().backward()
    # d √log(1 + e^x) / dx = σ(x) / (2 √log(1 + e^x)): at 2, 0.8808 / (2 · 1.4584); at 1, 0.7311 / (2 · 1.1460)
    torch.testing.assert_close(logits.grad.double(), torch.tensor([[0.3020, 0.0, 0.3190]]).double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("score_function", ["softmax", "sigmoid", "sqrt_softplus", "relu", "identity"])
def test_a_logit_that_is_no_number_has_a_score_that_is_none(score_function):
    scores = SelectionRule(score_function=score_function).score(torch.tensor([[1.0, math.nan]]))
    assert scores[0, 1].isnan()


BY_LOGITS = [
    SelectionRule(ranked_by="logits", weighed_by="softmax"),
    SelectionRule(ranked_by="logits", weighed_by="sigmoid", norm_topk_prob=False),
    SelectionRule(score_function="sigmoid", ranked_by="logits_plus_bias", weighed_by="softmax", soft_cap=2.0),
    SelectionRule(ranked_by="logits", weighed_by="sigmoid", num_groups=4, groups_kept=2, group_mask="zero"),
]


@pytest.mark.parametrize("rule", BY_LOGITS, ids=str)
def test_scores_that_nothing_needs_are_made_when_they_are_read(rule, random_tokens, monkeypatch):
    assert not rule.needs_scores
    logits = random_tokens(7, 8).requires_grad_()
    bias = random_tokens(8, seed=1) if rule.has_bias else None
    found = rule.select(logits, 2, bias)
    # A compiler goes the other way, which makes all of them.
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    monkeypatch.setattr("routers.selection.rule.choose_selection_path", lambda *_: None)
    made = rule.select(logits, 2, bias)
    assert type(found) is not type(made)
    for one, other in zip(found, made, strict=True):
        assert one is None is other or torch.equal(one, other)
    one, other = (torch.autograd.grad(each.routing_weights.square().sum(), logits)[0] for each in (found, made))
    torch.testing.assert_close(one, other)


def test_a_softmax_over_the_selected_is_not_divided_by_its_sum(random_tokens):
    # Rounded weights often have a sum beside 1; transformers' gate leaves it so, and so does the rule. Seen in the last
    # bits, which are torch's on the eager path alone.
    logits, rule = random_tokens(64, 9), get_selection_rule("gpt_oss")
    expected = torch.softmax(logits.topk(8).values, dim=-1)
    assert (expected.sum(dim=-1) != 1).any()
    with use_selection_path("eager"):
        assert torch.equal(rule.select(logits, 8).routing_weights, expected)
    divided = get_selection_rule("gpt_oss", epsilon=0.5).select(logits.double(), 8).routing_weights
    torch.testing.assert_close(divided, torch.softmax(logits.double().topk(8).values, dim=-1) / 1.5)
