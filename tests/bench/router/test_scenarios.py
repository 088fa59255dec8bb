from __future__ import annotations

import dataclasses

import pytest
import torch

from bench.benchmarks.bench_token import one_token
from bench.benchmarks.bench_training import training_step
from bench.presets import get_preset
from bench.router.scenarios import count_flops, get_router_scenario
from bench.scenario import Scenario, list_scenarios, register_scenario
from routers import FeedForwardExperts, create_router, list_routers

TOKENS = torch.randn(20, 16, generator=torch.Generator().manual_seed(0))


def experts() -> FeedForwardExperts:
    return FeedForwardExperts(4, 16, 32)


@pytest.mark.parametrize("scenario", list_scenarios("router").values(), ids=list_scenarios("router"))
@pytest.mark.parametrize("name", list_routers())
def test_every_router_can_be_called_again_and_again(scenario, name: str) -> None:  # type: ignore[no-untyped-def]
    router = create_router(name, hidden_size=16, num_experts=4, top_k=2)
    with torch.set_grad_enabled(scenario.gradients):
        call = scenario.prepare(router, TOKENS, experts)
        for _ in range(3):
            call()


def test_flops_are_those_of_the_matrix_products() -> None:
    router = create_router("linear", hidden_size=16, num_experts=4, top_k=2)
    with torch.no_grad():
        # 20 tokens, 16 features, 4 experts, a multiplication and an addition each.
        assert count_flops(get_router_scenario("router").prepare(router, TOKENS, experts)) == 2 * 20 * 16 * 4
        # The router on one token, and two experts of 16 x 32 up and 32 x 16 down.
        token = count_flops(one_token(router, TOKENS, experts))
    assert token >= 2 * 16 * 4 + 2 * 2 * (2 * 16 * 32)
    # Forward, and backward to weights and to inputs: three products of the same size.
    assert count_flops(training_step(router, TOKENS, experts)) == 3 * 2 * 20 * 16 * 4


def test_tokens_come_in_turn_the_same_for_every_router() -> None:
    seen: list[torch.Tensor] = []
    router = create_router("linear", hidden_size=16, num_experts=4, top_k=2)
    router.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    call = one_token(router, TOKENS, experts)
    for _ in range(21):
        call()
    assert torch.equal(torch.cat(seen[:20]), TOKENS)
    assert torch.equal(seen[20], TOKENS[:1])


def test_a_training_step_reaches_parameters_and_inputs() -> None:
    router = create_router("mlp", hidden_size=16, num_experts=4, top_k=2)
    training_step(router, TOKENS, experts)()
    assert all(parameter.grad is not None for parameter in router.parameters())


def test_a_scenario_is_one_file_of_the_benchmarks_and_known_by_its_name() -> None:
    stated = ["layer_half", "layer_uniform", "layer_zipf"]
    assert list(list_scenarios("router")) == ["layer", *stated, "router", "token", "training"]
    assert list(list_scenarios("language_model")) == ["decode", "finetune_step", "inject", "prefill"]


def test_a_taken_name_is_refused() -> None:
    router = get_router_scenario("router")
    assert register_scenario(router) is router
    with pytest.raises(ValueError, match="scenario 'router' is already registered"):
        register_scenario(dataclasses.replace(router, label="Another"))


def test_a_router_is_timed_on_every_input_alone_and_otherwise_on_those_that_say_so() -> None:
    assert list(get_router_scenario("token").parameters(get_preset("quick"))["input_name"]) == ["random", "contextual"]
    assert "supplemental" in get_router_scenario("router").parameters(get_preset("quick"))["input_name"]


def test_what_the_json_says_of_a_scenario() -> None:
    scenario: Scenario = get_router_scenario("token")
    assert scenario.as_dict() == {
        "label": "One token",
        "description": "the router and the experts it selects, for one token",
        "subject": "router",
    }
