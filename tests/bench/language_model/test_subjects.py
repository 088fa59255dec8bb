from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.language_model import subjects
from bench.language_model.models import Loaded, Reader
from bench.language_model.scenarios import MODEL_SCENARIOS
from bench.language_model.shared_weights import STOCK, TWIN, OwnGates
from bench.language_model.subjects import WrongRouterError, check_in_model, make_model_subject
from bench.presets import PRESETS
from routers import Router, Routing, list_routers, registry
from routers.scorers.linear import LinearRouter


def register(monkeypatch: pytest.MonkeyPatch, router: type[Router]) -> str:
    monkeypatch.setattr(registry, "_classes", registry._classes | {"own": router})
    return "own"


@pytest.mark.parametrize("name", [STOCK, TWIN, *list_routers()])
def test_every_router_is_right_and_says_what_it_is(name: str, loaded: Loaded, reader: Reader) -> None:
    facts = check_in_model(name, loaded, reader.read)
    assert facts.layers == 2
    assert facts.experts_per_token == {"hash": 1, "hadamard_unconstrained": 8}.get(name, 2)
    assert facts.backend == {} or set(facts.backend) == {"backend"}


def test_parameters_are_those_of_all_layers_and_the_class_is_the_routers(loaded: Loaded, reader: Reader) -> None:
    linear, stock = (check_in_model(name, loaded, reader.read) for name in ("linear", STOCK))
    assert (linear.parameters, stock.parameters) == (2 * 32 * 8, 2 * 32 * 8)
    assert linear.class_name == "routers.scorers.linear.LinearRouter"
    assert stock.class_name.endswith("Qwen2MoeTopKRouter")


def test_logits_that_are_not_finite_are_refused(
    loaded: Loaded, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Infinite(LinearRouter):
        def forward(self, hidden_states: Tensor) -> Routing:
            routing = super().forward(hidden_states)
            object.__setattr__(routing, "routing_weights", routing.routing_weights * torch.inf)  # type: ignore[attr-defined]
            return routing

    name = register(monkeypatch, Infinite)
    with pytest.raises(WrongRouterError, match=f"with own routers, {16 * 256} logits are not finite"):
        check_in_model(name, loaded, reader.read)


def test_copies_of_the_models_own_gates_that_answer_otherwise_are_refused(
    loaded: Loaded, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shaken(OwnGates):
        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__(model)
            for gate in self.routers.values():
                gate.weight.mul_(-1)

    monkeypatch.setattr(subjects, "install_routers", lambda name: Shaken)
    with pytest.raises(WrongRouterError, match="do not give the model's own logits"):
        check_in_model(STOCK, loaded, reader.read)


def test_a_model_that_is_not_put_back_is_refused(
    loaded: Loaded, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OwnGates, "restore", lambda self: None)
    with pytest.raises(WrongRouterError, match="the model is not what it was before"):
        check_in_model(STOCK, loaded, reader.read)


def test_a_router_that_fails_has_an_error_and_no_call(
    loaded: Loaded, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(Router):
        def compute_router_probabilities(self, hidden_states: Tensor) -> Tensor:
            raise ArithmeticError("broken on purpose")

    name = register(monkeypatch, Other)
    with pytest.raises(ArithmeticError, match="broken on purpose") as caught:
        check_in_model(name, loaded, reader.read)
    decode, smoke = MODEL_SCENARIOS["decode"], PRESETS["smoke"]
    subject = make_model_subject(name, decode, loaded, reader.read, smoke, facts=caught.value)
    assert (subject.error, subject.call) == (caught.value, None)


@pytest.mark.parametrize("scenario", MODEL_SCENARIOS.values(), ids=MODEL_SCENARIOS)
def test_a_subject_needs_the_same_memory_whenever_it_is_made(scenario, loaded: Loaded, reader: Reader) -> None:  # type: ignore[no-untyped-def]
    facts = check_in_model("mlp", loaded, reader.read)
    first, second = (
        make_model_subject("mlp", scenario, loaded, reader.read, PRESETS["smoke"], facts=facts) for _ in range(2)
    )
    assert (first.error, second.error) == (None, None)
    assert first.peak_memory == second.peak_memory
    assert first.peak_memory
