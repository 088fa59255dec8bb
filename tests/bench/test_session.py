from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from bench.case import Case
from bench.language_model.scenarios import MODEL_SCENARIOS
from bench.session import case_of, scenario_of


def item(scenario: str | None, **names: str) -> pytest.Item:
    """As pytest collects it: of a module that names a scenario or does not, with parameters or without."""
    callspec = {"callspec": SimpleNamespace(params=names)} if names else {}
    return cast(pytest.Item, SimpleNamespace(module=SimpleNamespace(SCENARIO=scenario), **callspec))


def test_a_benchmark_is_its_modules_scenario_and_its_parameters() -> None:
    assert case_of(item("token", input_name="random", router_name="mlp")) == Case("token", "mlp", "random")
    assert case_of(item("decode", router_name="stock")) == Case("decode", "stock")


def test_a_test_that_is_no_benchmark_is_no_case() -> None:
    assert case_of(item(None, router_name="mlp")) is None
    assert case_of(item("token")) is None


def test_the_gate_is_offered_routers_on_inputs_and_no_language_models() -> None:
    assert scenario_of(item("token", input_name="random", router_name="mlp")) == "token"
    assert [scenario_of(item(scenario, router_name="mlp")) for scenario in MODEL_SCENARIOS] == [None] * 4
    assert scenario_of(item(None, router_name="mlp")) is None
