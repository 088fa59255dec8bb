from __future__ import annotations

import json
import math
from statistics import fmean, stdev

import pytest
import torch

from bench.presets import get_preset
from bench.router.behaviour import combine, observe
from bench.router.experts import ExpertBanks, make_experts
from bench.router.inputs import Batch, Inputs
from bench.router.seeds import derive_seed
from reports.judging.paper import RANDOM_INPUT
from reports.judging.verdict import Verdict, judge_number
from routers import FeedForwardExperts, Routing, TokenChoice, create_router, list_routers
from routers.losses import load_balancing_loss
from routers.metric import METRICS, Observed
from routers.metrics import coefficient_of_variation

BATCH = Batch(torch.randn(32, 16, generator=torch.Generator().manual_seed(0)), 4, 8)


def bank(num_experts: int = 4) -> ExpertBanks:
    torch.manual_seed(0)
    return ExpertBanks({"random": FeedForwardExperts(num_experts, 16, 32)}, None)


@pytest.mark.parametrize("name", list_routers())
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
    for metric in ("token_entropy", "mean_top_k_prob"):
        values = [float(METRICS[metric].measure(Observed(routing, routing.router_probs))) for routing in routings]
        printed = RANDOM_INPUT.values[metric][name]
        assert judge_number(printed, fmean(values), stdev(values)) is Verdict.REPRODUCED, (metric, values)
