"""What a precision does to decisions, the arithmetic beside it. Axes: T tokens, E experts, K experts per token."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from routers import SelectionRule, TokenChoice, create_router, list_routers
from routers.precision_metrics import (
    PRECISIONS,
    QUANTITIES,
    Decision,
    decide,
    dense_decision,
    measure_change,
    rank_margins,
)
from routers.routing import Routing

T, D, E, K = 40, 16, 8, 2


def chosen(experts: list[list[int]], weights: list[list[float]], **options: Tensor) -> Decision:
    """The decision of a token choice among four experts."""
    routing = TokenChoice(
        4, selected_experts=torch.tensor(experts), routing_weights=torch.tensor(weights, dtype=torch.float64), **options
    )
    return dense_decision(routing)


def tokens(seed: int = 0) -> Tensor:
    return torch.randn(T, D, generator=torch.Generator().manual_seed(seed))


def test_tokens_and_assignments_that_changed() -> None:
    reference = chosen([[0, 1], [2, 3], [0, 2]], [[0.7, 0.3], [0.6, 0.4], [0.5, 0.5]])
    # The first has the same two in another order, the second one other expert, the third two others.
    found = chosen([[1, 0], [2, 1], [1, 3]], [[0.32, 0.68], [0.6, 0.4], [0.5, 0.5]])
    change = measure_change(found, reference)
    assert change["changed_tokens"] == pytest.approx(2 / 3)
    assert change["flip_rate"] == pytest.approx(3 / 6)  # of 3 · 2 assignments 0, 1 and 2
    assert change["weight_error"] == pytest.approx(0.02)  # of the first token alone
    # |Δ| of the tokens: 0.02 + 0.02; 0.4 + 0.4 (expert 2 has 0.6 in both); 4 · 0.5. Over 3 + 3
    assert change["moved_weight"] == pytest.approx((0.04 + 0.8 + 2.0) / 6)
    assert math.isnan(change["rank_margin_median"])
    assert measure_change(reference, reference) == pytest.approx(
        dict.fromkeys(QUANTITIES, 0.0) | {"rank_margin_median": math.nan, "rank_margin_p05": math.nan}, nan_ok=True
    )


def test_slots_that_are_not_kept_and_padding_are_no_assignments() -> None:
    kept = torch.tensor([[True, False], [True, True], [False, False]])
    reference = chosen([[0, 1], [2, 3], [0, 2]], [[1.0, 0.0], [0.6, 0.4], [0.0, 0.0]], kept=kept)
    kept = torch.tensor([[True, True], [True, True], [False, False]])
    found = chosen([[0, 1], [2, 3], [3, 1]], [[0.9, 0.1], [0.6, 0.4], [0.0, 0.0]], kept=kept)
    change = measure_change(found, reference)
    assert change["changed_tokens"] == pytest.approx(1 / 3)
    assert change["flip_rate"] == pytest.approx(1 / 7)  # one of the 4 and 3 assignments that the two have
    assert change["weight_error"] == 0
    mask = torch.tensor([False, True, True])
    padded = [
        chosen([[0, e], [2, 3], [0, 1]], [[0.5, 0.5]] * 3, mask=mask, kept=mask.unsqueeze(1).expand(3, 2))
        for e in (1, 2)
    ]
    assert padded[0].selected is not None
    assert len(padded[0].selected) == 2
    assert measure_change(*padded)["changed_tokens"] == 0


def test_rank_margins() -> None:
    ranked = torch.tensor([[5.0, 3.0, 2.5, -1.0], [1.0, 1.0, 0.0, 4.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
    selected = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()
    margins = rank_margins(ranked, selected)
    assert margins[:2].tolist() == [0.5, 0.0]  # 3 − 2.5; 1 − 1, a tie
    assert margins[2:].isnan().all()  # nothing is selected, or everything


def test_quantiles_are_margins_of_tokens() -> None:
    decision = Decision(None, None, margins=torch.tensor([4.0, math.nan, 1.0, math.inf, 2.0]))
    change = measure_change(decision, decision)
    # Of 1, 2, 4 and ∞ the lower of the middle two, and the lowest.
    assert (change["rank_margin_median"], change["rank_margin_p05"]) == (2.0, 1.0)


def test_nothing_in_common_is_1_and_layers_stand_one_after_the_other() -> None:
    first, second = (chosen([[e, e + 1]] * 3, [[0.5, 0.5]] * 3) for e in (0, 2))
    change = measure_change(first, second)
    assert [change[name] for name in ("changed_tokens", "flip_rate", "moved_weight")] == [1, 1, 1]
    assert math.isnan(change["weight_error"])
    both = measure_change(Decision.concatenate([first, first]), Decision.concatenate([first, second]))
    assert both["changed_tokens"] == 0.5


@pytest.mark.parametrize("name", list_routers(every=True))
def test_every_router_decides_alike_in_float32_and_says_what_is_not_defined(name: str) -> None:
    torch.manual_seed(0)
    router = create_router(name, hidden_size=D, num_experts=E, top_k=K)
    router.train(router.random_in_training)
    before = copy.deepcopy(router.state_dict())
    decisions = decide(router, tokens())
    assert decisions.keys() == PRECISIONS.keys()
    assert all(torch.equal(before[key], value) for key, value in router.state_dict().items())
    control = measure_change(*decisions["float32"])
    for quantity in ("changed_tokens", "flip_rate", "weight_error", "moved_weight"):
        assert math.isnan(control[quantity]) or control[quantity] < 1e-5
    _, reference = decisions["bfloat16"]
    assert bool(reference.undefined) is (reference.margins is None)
    assert reference.margins is None or bool((reference.margins >= 0).all() and reference.margins.isfinite().all())
    stored, arithmetic = (measure_change(*decisions[each]) for each in ("bfloat16", "bfloat16_arithmetic"))
    assert stored["moved_weight"] > 0
    assert arithmetic["moved_weight"] < 0.2


def test_a_hash_of_rounded_values_is_another_and_its_arithmetic_is_exact() -> None:
    decisions = decide(create_router("hash", hidden_size=D, num_experts=E, top_k=K), tokens())
    changes = {name: measure_change(*both) for name, both in decisions.items()}
    assert changes["bfloat16"]["changed_tokens"] > 0.5  # (E − 1) / E is expected
    assert [changes[name]["changed_tokens"] for name in ("bfloat16_arithmetic", "float32")] == [0] * 2


def test_rounded_weights_and_hidden_states_are_the_arithmetics_reference() -> None:
    # One feature. The weights 1 + 2⁻⁹ and 1 are one number in bfloat16, 8 bits of mantissa: the first expert's lead is
    # lost by storing. The arithmetic on what is stored is exact, so that it changes nothing but where a tie stands.
    router = create_router("linear", hidden_size=1, num_experts=3, top_k=1)
    with torch.no_grad():
        router.weight.copy_(torch.tensor([[1.0], [1 + 2.0**-9], [-1.0]]))
    ones = torch.ones(2, 1)
    decisions = decide(router, ones)
    _, exact = decisions["bfloat16"]
    _, rounded = decisions["bfloat16_arithmetic"]
    assert exact.margins is not None
    assert rounded.margins is not None
    assert exact.margins.tolist() == [2.0**-9] * 2
    assert rounded.margins.tolist() == [0.0] * 2
    assert measure_change(*decisions["bfloat16_arithmetic"])["changed_tokens"] == 0


def test_margins_are_those_of_the_groups_that_stay() -> None:
    rule = SelectionRule(score_function="sigmoid", num_groups=2, groups_kept=1, precision="float32")
    router = create_router("linear", hidden_size=4, num_experts=4, top_k=1, selection=rule)
    with torch.no_grad():
        router.weight.copy_(torch.eye(4))
    logits = torch.tensor([[3.0, 1.0, 2.9, 0.0]])
    _, reference = decide(router, logits)["float32"]
    assert reference.margins is not None
    # The group of 3 and 1 stays: the next there is 1, though 2.9 is nearer. σ(3) − σ(1)
    assert float(reference.margins) == pytest.approx(1 / (1 + math.exp(-3)) - 1 / (1 + math.exp(-1)))


@given(seed=st.integers(0, 100))
@settings(deadline=None, max_examples=10)
def test_no_set_changes_whose_margin_is_wider_than_the_rounding(seed: int) -> None:
    torch.manual_seed(seed)
    router = create_router("linear", hidden_size=D, num_experts=E, top_k=K)
    hidden_states = tokens(seed)
    found, reference = decide(router, hidden_states)["bfloat16"]
    assert found.selected is not None
    assert reference.selected is not None
    assert reference.margins is not None
    # A product of two rounded values is off by 2 · 2⁻⁹ of itself, and the sum is rounded once more; two logits are.
    sizes = (hidden_states.double().abs() @ router.weight.double().abs().t()).amax(dim=-1)
    wide = reference.margins > 2 * 3.1 * 2.0**-9 * sizes
    assert torch.equal(found.selected[wide], reference.selected[wide])


def test_what_nobody_has_foreseen_is_not_defined_and_says_so() -> None:
    class Other(Routing):
        tokens_per_expert = torch.ones(4)
        dispatch = combine = None  # type: ignore[assignment]

    decision = dense_decision(Other(4, probs=torch.full((2, 4), 0.25)))
    assert decision.undefined == "a Other does not say which token has which expert"
    assert all(math.isnan(value) for value in measure_change(decision, decision).values())
