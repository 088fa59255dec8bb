from __future__ import annotations

import json
import math
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.presets import get_preset
from bench.router.behaviour import Observation, combine, observe
from bench.router.experts import ExpertBanks, make_experts
from bench.router.inputs import Batch, Inputs
from bench.router.seeds import derive_seed
from reports.judging.paper import RANDOM_INPUT
from reports.judging.verdict import Verdict, judge_number
from routers import FeedForwardExperts, Router, Routing, TokenChoice, create_router, list_routers
from routers.losses import load_balancing_loss
from routers.metric import METRICS, Observed
from routers.metrics import coefficient_of_variation

BATCH = Batch(torch.randn(32, 16, generator=torch.Generator().manual_seed(0)), 4, 8)


def bank(num_experts: int = 4) -> ExpertBanks:
    torch.manual_seed(0)
    return ExpertBanks({"random": FeedForwardExperts(num_experts, 16, 32)}, None)


class Renamed(Router):
    """A routing under other numbers of the experts: expert order[e] is what e was."""

    def __init__(self, routing: TokenChoice, order: torch.Tensor) -> None:
        super().__init__(16, 4, routing.selected_experts.shape[1])
        self.routing, self.order = routing, order

    def compute_router_probabilities(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self._moved(self.routing.router_probs)

    def _moved(self, columns: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(columns).index_copy_(-1, self.order, columns)

    def forward(self, hidden_states: torch.Tensor, **side_inputs: Any) -> Routing:
        logits = self.routing.logits
        return TokenChoice(
            4,
            probs=self._moved(self.routing.router_probs),
            logits=None if logits is None else self._moved(logits),
            selected_experts=self.order[self.routing.selected_experts],
            routing_weights=self.routing.routing_weights,
        )

    def bank(self) -> ExpertBanks:
        experts = bank().banks["random"]
        for parameter in experts.parameters():
            parameter.data = torch.empty_like(parameter).index_copy_(0, self.order, parameter.data)
        return ExpertBanks({"random": experts}, None)


def observation(load: list[float], together: list[list[float]]) -> Observation:
    return Observation({}, load, together, {}, {})


def flat(value: Any) -> list[float]:
    """All numbers of a JSON, in order; null is NaN."""
    if isinstance(value, dict | list):
        return [number for item in (value.values() if isinstance(value, dict) else value) for number in flat(item)]
    return [math.nan if value is None else value]


@pytest.mark.parametrize("name", [*list_routers(), "expert_choice", "soft", "switch"])
def test_every_router_can_be_observed_and_the_result_is_json(name: str) -> None:
    torch.manual_seed(1)
    router = create_router(name, hidden_size=16, num_experts=4, top_k=2)
    observation = observe(router, BATCH, bank(), 32, figures=True)
    combined = combine([observation, observation])
    json.dumps(combined, allow_nan=False)
    json.dumps(observation.figures, allow_nan=False)
    assert combined["metrics"].keys() == METRICS.keys()
    assert math.isclose(sum(observation.load), 1, abs_tol=1e-6)
    assert len(observation.figures["sequence_probs"]) == 8
    histogram = observation.figures["output_histogram"]["random"]
    assert len(histogram["edges"]) == len(histogram["counts"]) + 1
    assert sum(histogram["counts"]) >= 0.99 * 32 * 16


def test_routing_that_is_no_token_choice_has_the_same_loss() -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        routing = create_router("linear", hidden_size=16, num_experts=4, top_k=2)(BATCH.hidden_states)
    assert isinstance(routing, TokenChoice)

    class Other(Routing):
        tokens_per_expert = routing.tokens_per_expert
        dispatch = combine = None  # type: ignore[assignment]

    other = Other(4, probs=routing.router_probs)
    expected = load_balancing_loss(routing.router_probs, routing.selected_experts)
    assert float(METRICS["aux_loss"].measure(Observed(other, BATCH.hidden_states))) == pytest.approx(float(expected))


@given(order=st.permutations(range(4)), seed=st.integers(0, 1), name=st.sampled_from(["linear", "hybrid", "hash"]))
@settings(deadline=None, max_examples=30)
def test_the_numbers_of_a_seeds_experts_mean_nothing(order: list[int], seed: int, name: str) -> None:
    torch.manual_seed(1)
    routers = [create_router(name, hidden_size=16, num_experts=4, top_k=2) for _ in range(2)]
    with torch.no_grad():
        routings = [router(BATCH.hidden_states) for router in routers]
    renamed = [Renamed(routing, torch.arange(4)) for routing in routings]
    plain = combine([observe(each, BATCH, bank(), 32, figures=False) for each in renamed])
    renamed[seed] = Renamed(routings[seed], torch.tensor(order))
    permuted = combine([observe(each, BATCH, each.bank(), 32, figures=False) for each in renamed])
    assert flat(permuted) == pytest.approx(flat(plain), abs=1e-6, nan_ok=True)


def test_loads_and_co_activation_stand_in_order_within_a_seed() -> None:
    first = observation(load=[0.1, 0.6, 0.3], together=[[0, 0.5, 0.5], [0.1, 0, 0.9], [0.2, 0.8, 0]])
    second = observation(load=[0.8, 0.0, 0.2], together=[[0, 0.0, 1.0], [0, 0, 0], [1.0, 0.0, 0]])
    combined = combine([first, second])
    # (0.6 + 0.8)/2, (0.3 + 0.2)/2, (0.1 + 0.0)/2; of numbers that mean nothing, expert 0 had (0.1 + 0.8)/2 = 0.45
    assert combined["expert_load"]["mean"] == pytest.approx([0.7, 0.25, 0.05])
    assert combined["expert_load"]["sd"] == pytest.approx([stdev([0.6, 0.8]), stdev([0.3, 0.2]), stdev([0.1, 0.0])])
    # the busiest: (0.9, 0.1) and (1, 0); then (0.8, 0.2) and (1, 0); then (0.5, 0.5) and (0, 0)
    assert flat(combined["co_activation"]) == pytest.approx([0.95, 0.05, 0.9, 0.1, 0.25, 0.25])


def test_one_seed_has_no_standard_deviation() -> None:
    combined = combine([observation(load=[0.25, 0.75], together=[[0, 1], [1, 0]])])
    assert combined["expert_load"] == {"mean": [0.75, 0.25], "sd": [None, None]}
    json.dumps(combined, allow_nan=False)


@pytest.mark.parametrize(("name", "missing"), [("linear", set()), ("hybrid", {"z_loss"}), ("hash", {"z_loss"})])
def test_a_metric_that_is_not_defined_is_null(name: str, missing: set[str]) -> None:
    torch.manual_seed(1)
    router = create_router(name, hidden_size=16, num_experts=4, top_k=2)
    stats = combine([observe(router, BATCH, bank(), 32, figures=False)] * 2)["metrics"]
    assert {metric for metric, stat in stats.items() if stat["mean"] is None} == missing
    assert all(stats[metric]["values"] == [None, None] for metric in missing)


def test_copied_experts_hide_the_router_and_partitioned_ones_do_not() -> None:
    inputs = Inputs(get_preset("smoke"), "cpu")
    experts, batch = make_experts(inputs, "in_place", 0), inputs.batch("in_place", 0)
    # The original network and the experts each sum I products in an order of their own: float32 rounds a product to
    # its epsilon, relatively, and a sum of I roundings grows as their square root.
    rounding = torch.finfo(torch.float32).eps * math.sqrt(inputs.encoder.intermediate_size)
    errors = []
    for name in ("linear", "hash"):
        router = create_router(name, hidden_size=inputs.encoder.hidden_size, num_experts=8, top_k=2)
        layer = observe(router, batch, experts, 32, figures=False).layer
        assert layer["copied"]["output_error"] == pytest.approx(0, abs=rounding)
        errors.append(layer["partitioned"]["output_error"])
    assert min(errors) > 0.1
    assert errors[0] != errors[1]


def test_experts_of_random_input_are_random_and_of_the_inputs_width() -> None:
    inputs = Inputs(get_preset("smoke"), "cpu")
    experts = make_experts(inputs, "random", 0)
    assert list(experts.banks) == ["random"]
    assert experts.original_output is None
    first, again = (make_experts(inputs, "random", 0).banks["random"] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_hash_balances_real_tokens_better_than_a_naive_modulo() -> None:
    hidden_states = Inputs(get_preset("quick"), "cpu").batch("contextual", 0).hidden_states
    hashed = create_router("hash", hidden_size=hidden_states.shape[1], num_experts=8, top_k=1)(hidden_states)
    naive = torch.bincount((hidden_states[:, :4].sum(dim=1) * 10).long().abs() % 8, minlength=8)
    # 2048 tokens dealt out at random have a CV of about √(7/2048) = 0.058.
    assert coefficient_of_variation(hashed.tokens_per_expert) < 0.12 < coefficient_of_variation(naive)


@pytest.mark.parametrize("name", ["linear", "attention", "mlp", "hybrid"])
def test_the_papers_table_for_random_input_is_reproduced(name: str) -> None:
    inputs = Inputs(get_preset("quick"), "cpu")
    routings = []
    for seed in range(5):
        torch.manual_seed(derive_seed("router", seed))
        router = create_router(name, hidden_size=768, num_experts=8, top_k=2)
        with torch.no_grad():
            routings.append(router(inputs.batch("random", seed).hidden_states))
    for metric in ("token_entropy", "mean_top_2_prob"):
        values = [float(METRICS[metric].measure(Observed(routing, routing.router_probs))) for routing in routings]
        printed = RANDOM_INPUT.values[metric][name]
        assert judge_number(printed, fmean(values), stdev(values)) is Verdict.REPRODUCED, (metric, values)


def test_a_seed_in_which_no_token_has_an_expert_is_in_no_mean_of_shares() -> None:
    nothing, something = (observation(load, [[0, 1], [1, 0]]) for load in ([0.0, 0.0], [0.25, 0.75]))
    assert combine([nothing, something])["expert_load"]["mean"] == [0.75, 0.25]
    assert combine([nothing, nothing])["expert_load"]["mean"] == [0.0, 0.0]


def test_pairs_of_the_first_seed_and_shares_of_every_seed_are_kept() -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        router = create_router("linear", hidden_size=16, num_experts=4, top_k=2)
        seen = observe(router, BATCH, bank(), 32, figures=True)
    pairs = torch.tensor(seen.figures["expert_pairs"])
    assert pairs.diagonal().sum() == 2 * len(BATCH.hidden_states)
    # Each token has one pair, which stands in two places.
    assert pairs.sum() - pairs.diagonal().sum() == 2 * len(BATCH.hidden_states)
    assert torch.equal(pairs, pairs.T)
    combined = combine([observation(load=[0.1, 0.6, 0.3], together=[[0.0] * 3] * 3)] * 2)
    assert combined["expert_load_by_seed"] == [[0.6, 0.3, 0.1]] * 2
