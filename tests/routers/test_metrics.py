"""Metrics on small batches, the arithmetic beside them. Axes: T tokens, E experts, K experts per token."""

import dataclasses
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routers import TokenChoice, metrics

LN2 = math.log(2)
ONE_HOT = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0]])
UNIFORM = torch.full((3, 4), 0.25)
# counts 6, 2, 0, 0: mean 2, deviations 4, 0, −2, −2
SKEWED = torch.tensor([6, 2, 0, 0])
BALANCED = torch.tensor([2, 2, 2, 2])
ALL_ON_ONE = torch.tensor([8, 0, 0, 0])

loads = st.lists(st.integers(0, 1000), min_size=1, max_size=12).filter(any)


def test_token_entropy():
    assert float(metrics.token_entropy(ONE_HOT)) == 0
    assert float(metrics.token_entropy(UNIFORM)) == pytest.approx(math.log(4))
    # token 0: ln 2; token 1: ½ ln 2 + 2 · ¼ ln 4 = 1.5 ln 2; mean 1.25 ln 2
    mixed = torch.tensor([[0.5, 0.5, 0], [0.5, 0.25, 0.25]])
    assert float(metrics.token_entropy(mixed)) == pytest.approx(1.25 * LN2)


def test_load_entropy():
    assert float(metrics.load_entropy(torch.tensor([0.5, 0.25, 0.25, 0.0]))) == pytest.approx(1.5 * LN2)
    assert float(metrics.load_entropy(torch.full((8,), 1 / 8))) == pytest.approx(math.log(8))
    assert float(metrics.load_entropy(torch.tensor([1.0, 0.0]))) == 0


def test_mean_top_k_prob():
    # K = 2: (0.5 + 0.3 + 0.4 + 0.4) / 4
    probs = torch.tensor([[0.5, 0.2, 0.3], [0.2, 0.4, 0.4]])
    assert float(metrics.mean_top_k_prob(probs, top_k=2)) == pytest.approx(0.4)
    assert float(metrics.mean_top_k_prob(probs, top_k=1)) == pytest.approx(0.45)
    assert float(metrics.mean_top_2_prob(probs)) == pytest.approx(0.4)
    assert float(metrics.mean_top_2_prob(ONE_HOT)) == 0.5  # the paper's value for the hash
    assert float(metrics.mean_top_2_prob(torch.ones(3, 1))) == 1


def test_score_std():
    # mean 0.25; deviations 0.75 twice, −0.25 six times: √((2 · 0.5625 + 6 · 0.0625) / 8) = √0.1875
    assert float(metrics.score_std(ONE_HOT)) == pytest.approx(math.sqrt(0.1875))
    assert float(metrics.score_std(UNIFORM)) == 0


def test_experts_per_token():
    # tokens of 2, 0, 1 and 1 experts: mean 1, deviations 1, −1, 0, 0: √(2/4); shares ¼, ½, ¼
    kept = torch.tensor([[True, True], [False, False], [True, False], [False, True]])
    selected = torch.tensor([[0, 1], [1, 2], [2, 0], [1, 0]])
    routing = TokenChoice(3, selected_experts=selected, routing_weights=kept / 2, kept=kept)
    assert routing.experts_per_token.tolist() == [2, 0, 1, 1]
    assert float(metrics.mean_experts_per_token(routing.experts_per_token)) == 1
    assert float(metrics.experts_per_token_std(routing.experts_per_token)) == pytest.approx(math.sqrt(0.5))
    assert metrics.experts_per_token_shares(routing.experts_per_token, 2).tolist() == [0.25, 0.5, 0.25]
    padded = dataclasses.replace(routing, mask=torch.tensor([True, False, True, True]))
    assert padded.experts_per_token.tolist() == [2, 1, 1]
    assert (int(routing.unserved_tokens), int(padded.unserved_tokens)) == (1, 0)
    every = TokenChoice(3, selected_experts=selected, routing_weights=kept / 2)
    assert every.experts_per_token.tolist() == [2, 2, 2, 2]
    with pytest.raises(ValueError, match="experts_per_token hold 0 to 2, expected 0 to top_k = 1"):
        metrics.experts_per_token_shares(routing.experts_per_token, 1)


def test_output_std():
    # mean 1, deviations ±1, ±3: √((1 + 1 + 9 + 9) / 4)
    assert float(metrics.output_std(torch.tensor([[0.0, 2.0], [4.0, -2.0]]))) == pytest.approx(math.sqrt(5))


def test_tokens_per_expert_and_expert_load_keep_idle_experts():
    selected = torch.tensor([[0, 3], [3, 1], [3, 0]])
    assert metrics.tokens_per_expert(selected, 6).tolist() == [2, 1, 0, 3, 0, 0]
    assert metrics.expert_load(selected, 6).tolist() == pytest.approx([2 / 6, 1 / 6, 0, 3 / 6, 0, 0])


@pytest.mark.parametrize(
    ("metric", "balanced", "skewed", "all_on_one"),
    [
        # 6/2 − 1; 8/2 − 1 = E − 1
        pytest.param(metrics.max_violation, 0, 2, 3, id="max_violation"),
        # √((16 + 0 + 4 + 4)/4) / 2 = √6/2; √((36 + 3 · 4)/4) / 2 = √12/2 = √(E − 1)
        pytest.param(metrics.coefficient_of_variation, 0, math.sqrt(6) / 2, math.sqrt(3), id="cv"),
        # pairs: |6−2| + 2·|6−0| + 2·|2−0| = 20, twice, over 2 · 4 · 8 = 64; 2 · 3 · 8 / 64 = 1 − 1/E
        pytest.param(metrics.gini, 0, 40 / 64, 0.75, id="gini"),
        pytest.param(metrics.dead_experts, 0, 0.5, 0.75, id="dead_experts"),
    ],
)
def test_balance_of_a_load(metric, balanced, skewed, all_on_one):
    for load, expected in ((BALANCED, balanced), (SKEWED, skewed), (ALL_ON_ONE, all_on_one)):
        assert float(metric(load)) == pytest.approx(expected)
        assert float(metric(load / load.sum())) == pytest.approx(expected), "shares give what counts give"


def test_dead_experts_lie_below_a_tenth_of_a_percent():
    # shares 0.9980, 0.0011, 0.0009, 0
    load = torch.tensor([9980, 11, 9, 0])
    assert float(metrics.dead_experts(load)) == 0.5
    assert float(metrics.dead_experts(load, threshold=0.002)) == 0.75


def test_specialisation():
    # mean p = (½, 0, ½, 0): ln 2, and one-hot tokens have no entropy
    assert float(metrics.specialisation(ONE_HOT)) == pytest.approx(LN2)
    assert float(metrics.specialisation(UNIFORM)) == pytest.approx(0, abs=1e-6)
    assert float(metrics.specialisation(torch.eye(4))) == pytest.approx(math.log(4))


def test_co_activation_counts_all_pairs_of_three_experts():
    # N_0 = 2, N_1 = 1, N_2 = 2, N_3 = 1; pairs: token 0 has 01, 02, 12; token 1 has 20, 23, 03
    selected = torch.tensor([[0, 1, 2], [2, 3, 0]])
    expected = [
        [0, 1 / 2, 2 / 2, 1 / 2, 0],
        [1 / 1, 0, 1 / 1, 0, 0],
        [2 / 2, 1 / 2, 0, 1 / 2, 0],
        [1 / 1, 0, 1 / 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert metrics.co_activation(selected, 5).tolist() == expected


def test_margin_is_the_gap_between_the_last_in_and_the_first_out():
    # K = 2: 0.30 − 0.15 and 0.25 − 0.25, mean 0.075; K = 1: 0.50 − 0.30 and 0.35 − 0.25, mean 0.15; K = E: no margin
    probs = torch.tensor([[0.30, 0.50, 0.15, 0.05], [0.35, 0.15, 0.25, 0.25]])
    assert float(metrics.margin(probs, top_k=2)) == pytest.approx(0.075)
    assert float(metrics.margin(probs, top_k=1)) == pytest.approx(0.15)
    assert math.isnan(metrics.margin(probs, top_k=4))


def test_flip_rate():
    # the sets share 2, 1 and 0 of 2, so 0, ½ and 1 flipped; the order within a token does not matter
    first = torch.tensor([[0, 1], [0, 1], [0, 1]])
    second = torch.tensor([[1, 0], [1, 2], [2, 3]])
    assert float(metrics.flip_rate(first, second)) == 0.5
    assert float(metrics.flip_rate(first, first)) == 0


def test_agreement_is_the_share_of_the_originals_experts():
    # of 0 and 1: both, one and none, whatever else is selected
    original = torch.tensor([[0, 1], [0, 1], [0, 1]])
    assert float(metrics.agreement(original, torch.tensor([[1, 2, 0], [3, 1, 2], [4, 3, 2]]))) == 0.5
    assert float(metrics.agreement(original, torch.tensor([[1], [2], [0]]))) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="of 3 and 1 tokens"):
        metrics.agreement(original, original[:1])


@pytest.mark.parametrize(
    ("capacity_factor", "expected"),
    [
        # 8 assignments over 4 experts, C = 2: kept 2 + 2 of 8
        pytest.param(1.0, 0.5, id="mean"),
        # C = ⌈1.25 · 2⌉ = 3: kept 3 + 2
        pytest.param(1.25, 3 / 8, id="rounded_up"),
        # C = ⌈0.25 · 2⌉ = 1: kept 1 + 1
        pytest.param(0.25, 6 / 8, id="below_one"),
        pytest.param(4.0, 0, id="room_for_all"),
    ],
)
def test_drop_rate(capacity_factor, expected):
    assert float(metrics.drop_rate(SKEWED, capacity_factor)) == expected
    assert float(metrics.drop_rate(BALANCED, 1.0)) == 0


@pytest.mark.parametrize(
    ("counts", "capacity_factor", "expected"),
    [
        # 25 · 1.2 / 2 = 15 exactly: 10 of 25 are dropped. In float32 it was 15.000001, rounded up to 16: 0.36
        pytest.param([25, 0], 1.2, 10 / 25, id="decimal"),
        # 100 · 1.1 / 10 = 11; the float beside 1.1 is larger, and its exact product would be rounded up to 12
        pytest.param([100, *[0] * 9], 1.1, 0.89, id="as_written"),
        # float32 knows no odd number above 2²⁴
        pytest.param([2**24 + 1, 0], 2.0, 0, id="large"),
        pytest.param([3, 0, 0], Fraction(1, 3), 2 / 3, id="fraction"),
    ],
)
def test_a_drop_rate_is_exact(counts, capacity_factor, expected):
    assert float(metrics.drop_rate(torch.tensor(counts), capacity_factor)) == expected


@given(loads, st.integers(1, 800))
def test_a_drop_rate_is_that_of_whole_numbers(counts, hundredths):
    capacity = -(-hundredths * sum(counts) // (100 * len(counts)))
    dropped = sum(count - min(count, capacity) for count in counts)
    assert float(metrics.drop_rate(torch.tensor(counts), hundredths / 100)) == dropped / sum(counts)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: metrics.tokens_per_expert(torch.tensor([[0, 9]]), 8), "selected_experts hold 9, expected 0 to 7"),
        (lambda: metrics.expert_load(torch.tensor([[-1, 3]]), 8), "selected_experts hold -1, expected 0 to 7"),
        (lambda: metrics.co_activation(torch.tensor([[0, 9]]), 8), "selected_experts hold 9, expected 0 to 7"),
        (lambda: metrics.max_violation(torch.tensor([3, -2])), "the load holds -2, expected finite counts or shares"),
        (lambda: metrics.coefficient_of_variation(torch.tensor([0.5, math.inf])), "the load holds inf"),
        (lambda: metrics.gini(torch.tensor([0.5, math.nan])), "the load holds nan"),
        (lambda: metrics.dead_experts(torch.tensor([1, -1])), "the load holds -1"),
        (lambda: metrics.load_entropy(torch.tensor([1.5, -0.5])), "the load holds -0.5"),
        (lambda: metrics.drop_rate(torch.tensor([2, -1]), 1.0), "the load holds -1"),
        (lambda: metrics.drop_rate(torch.tensor([0.5, 0.5]), 1.0), "torch.float32, expected counts in whole numbers"),
        (lambda: metrics.drop_rate(SKEWED, 0.0), "capacity_factor is 0.0, expected a finite number above 0"),
        (lambda: metrics.drop_rate(SKEWED, math.inf), "capacity_factor is inf"),
        (lambda: metrics.mean_top_k_prob(UNIFORM, 5), "top_k is 5, expected 1 to the number of experts, 4"),
        (lambda: metrics.margin(UNIFORM, 0), "top_k is 0, expected 1 to the number of experts, 4"),
        (
            lambda: metrics.flip_rate(torch.zeros(3, 2).long(), torch.zeros(3, 1).long()),
            r"the selections are \(3, 2\) and \(3, 1\), expected the same tokens and the same K",
        ),
        (lambda: metrics.flip_rate(torch.zeros(3, 2).long(), torch.zeros(1, 2).long()), r"\(3, 2\) and \(1, 2\)"),
    ],
)
def test_what_cannot_be_is_refused_with_its_value(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


def test_a_load_entropy_takes_counts_as_well():
    assert float(metrics.load_entropy(torch.tensor([2, 1, 1, 0]))) == pytest.approx(1.5 * LN2)


def test_of_no_token_nothing_is_dead_or_dropped():
    nothing = torch.zeros(4, dtype=torch.int64)
    assert math.isnan(metrics.dead_experts(nothing))
    assert math.isnan(metrics.drop_rate(nothing, 1.0))


@given(loads)
def test_a_load_stays_within_the_metrics_ranges(counts):
    num_experts, load = len(counts), torch.tensor(counts)
    slack = 1e-9
    assert -slack <= float(metrics.gini(load)) <= 1 - 1 / num_experts + slack
    assert -slack <= float(metrics.max_violation(load)) <= num_experts - 1 + slack
    assert -slack <= float(metrics.coefficient_of_variation(load)) <= math.sqrt(num_experts - 1) + slack
    assert 0 <= float(metrics.dead_experts(load)) < 1
    assert -slack <= float(metrics.load_entropy(load.double() / load.sum())) <= math.log(num_experts) + slack


@given(loads, st.floats(0.1, 8))
def test_a_larger_capacity_drops_no_more(counts, capacity_factor):
    load = torch.tensor(counts)
    smaller, larger = (float(metrics.drop_rate(load, factor)) for factor in (capacity_factor, 2 * capacity_factor))
    assert -1e-6 <= larger <= smaller < 1


@given(num_tokens=st.integers(1, 20), num_experts=st.integers(1, 9), scale=st.sampled_from([0, 0.1, 1, 50]))
def test_probabilities_stay_within_the_metrics_ranges(random_tokens, num_tokens, num_experts, scale):
    probs = torch.softmax(scale * random_tokens(num_tokens, num_experts), dim=-1)
    most = math.log(num_experts) + 1e-5
    assert -1e-5 <= float(metrics.token_entropy(probs)) <= most
    assert -1e-5 <= float(metrics.specialisation(probs)) <= most
    for top_k in range(1, num_experts + 1):
        assert top_k == num_experts or -1e-6 <= float(metrics.margin(probs, top_k)) <= 1 / top_k + 1e-6
        assert 1 / num_experts - 1e-6 <= float(metrics.mean_top_k_prob(probs, top_k)) <= 1 / top_k + 1e-6


@given(num_experts=st.integers(2, 9), top_k=st.integers(1, 9), seed=st.integers(0, 99))
def test_selections_stay_within_the_metrics_ranges(random_tokens, num_experts, top_k, seed):
    top_k = min(top_k, num_experts)
    first, second = (random_tokens(15, num_experts, seed=seed + i).topk(top_k).indices for i in (0, 1))
    assert 0 <= float(metrics.flip_rate(first, second)) <= 1 - max(0, 2 * top_k - num_experts) / top_k + 1e-9
    together = metrics.co_activation(first, num_experts)
    used = metrics.tokens_per_expert(first, num_experts) > 0
    # each time an expert is used, K − 1 others are
    torch.testing.assert_close(together.sum(dim=1)[used], torch.full((int(used.sum()),), top_k - 1.0).double())
