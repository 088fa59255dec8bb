from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.language_model import checked
from bench.language_model.checked import WrongRouterError, check_in_model, make_ready
from bench.language_model.models import LoadedModel
from bench.language_model.shared_weights import TWIN, OwnGates
from bench.presets import PRESETS
from bench.scenario import list_scenarios
from bench.timing.memory import peak_memory
from harness.replacement.moe_blocks import STOCK
from routers import Router, Routing, list_routers, temporary_router
from routers.scorers.linear import LinearRouter


@pytest.mark.parametrize("name", [STOCK, TWIN, *list_routers()])
def test_every_router_is_right_and_says_what_it_is(name: str, loaded: LoadedModel) -> None:
    installed = check_in_model(name, loaded)
    assert installed.layers == 2
    assert installed.experts_per_token == {"hash": 1, "hadamard_unconstrained": 8}.get(name, 2)
    assert installed.backend == {} or set(installed.backend) == {"backend"}


def test_parameters_are_those_of_all_layers_and_the_class_is_the_routers(loaded: LoadedModel) -> None:
    linear, stock = (check_in_model(name, loaded) for name in ("linear", STOCK))
    assert (linear.parameters, stock.parameters) == (2 * 32 * 8, 2 * 32 * 8)
    assert linear.class_path == "routers.scorers.linear.LinearRouter"
    assert stock.class_path.endswith("Qwen2MoeTopKRouter")


def test_logits_that_are_not_finite_are_refused(loaded: LoadedModel) -> None:
    class Infinite(LinearRouter):
        def forward(self, hidden_states: Tensor) -> Routing:
            routing = super().forward(hidden_states)
            object.__setattr__(routing, "routing_weights", routing.routing_weights * torch.inf)  # type: ignore[attr-defined]
            return routing

    message = f"with own routers, {16 * 256} logits are not finite"
    with temporary_router("own", Infinite), pytest.raises(WrongRouterError, match=message):
        check_in_model("own", loaded)


def test_copies_of_the_models_own_gates_that_answer_otherwise_are_refused(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shaken(OwnGates):
        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__(model)
            for gate in self.routers.values():
                gate.weight.mul_(-1)

    monkeypatch.setattr(checked, "install_routers", lambda name: Shaken)
    with pytest.raises(WrongRouterError, match="do not give the model's own logits"):
        check_in_model(STOCK, loaded)


def test_a_model_that_is_not_put_back_is_refused(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnGates, "restore", lambda self: None)
    with pytest.raises(WrongRouterError, match="the model is not what it was before"):
        check_in_model(STOCK, loaded)


def test_a_router_that_fails_says_what_it_raised(loaded: LoadedModel) -> None:
    class Other(Router):
        def compute_router_probabilities(self, hidden_states: Tensor) -> Tensor:
            raise ArithmeticError("broken on purpose")

    with temporary_router("own", Other), pytest.raises(ArithmeticError, match="broken on purpose"):
        check_in_model("own", loaded)


@pytest.mark.parametrize("scenario", list_scenarios("language_model").values(), ids=list_scenarios("language_model"))
def test_a_call_needs_the_same_memory_whenever_it_is_made_ready(scenario, loaded: LoadedModel) -> None:  # type: ignore[no-untyped-def]
    peaks = []
    with torch.set_grad_enabled(scenario.gradients):
        for _ in range(2):
            ready = make_ready("mlp", scenario, loaded, PRESETS["smoke"])
            for call in (ready.call, lambda ready=ready: peaks.append(peak_memory(ready.call, "cpu"))):
                call()
                if ready.reset:
                    ready.reset()
    assert peaks[0] == peaks[1]
    assert peaks[0]
