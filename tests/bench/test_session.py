from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from bench.case import Case
from bench.scenario import list_scenarios
from bench.session import case_of

SCENARIOS = list_scenarios("router") | list_scenarios("language_model")


def item(scenario: object, **names: str) -> pytest.Item:
    """As pytest collects it: of a module that has a scenario or does not, with parameters or without."""
    callspec = {"callspec": SimpleNamespace(params=names)} if names else {}
    return cast(pytest.Item, SimpleNamespace(module=SimpleNamespace(SCENARIO=scenario), **callspec))


def test_a_benchmark_is_its_modules_scenario_and_its_parameters() -> None:
    token = item(SCENARIOS["token"], input_name="random", router_name="mlp")
    assert case_of(token) == Case("token", "mlp", "random")
    assert case_of(item(SCENARIOS["decode"], router_name="stock")) == Case("decode", "stock")


def test_a_test_that_is_no_benchmark_is_no_case() -> None:
    assert case_of(item(None, router_name="mlp")) is None
    assert case_of(item("token", router_name="mlp")) is None
    assert case_of(item(SCENARIOS["token"])) is None


def test_a_case_has_a_name_that_can_be_read_again() -> None:
    case = Case("token", "mlp", "random")
    assert str(case) == "token | random | mlp"
    assert Case.parse(str(case)) == case
    assert Case.parse("router | random | a | b") == Case("router", "a | b", "random")
    assert str(Case("decode", "stock")) == "decode | stock"
