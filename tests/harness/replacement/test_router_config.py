"""A router's configuration goes through JSON and makes the same router again."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.replacement.router_config import RouterConfig

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner), max_leaves=5)


@given(options=st.dictionaries(st.text(), VALUES, max_size=3))
def test_options_go_through_json_unchanged(options: dict[str, Any]) -> None:
    router_config = RouterConfig("linear", 32, 8, 2, options)
    assert RouterConfig.from_json(json.loads(json.dumps(router_config.to_json())), {}) == router_config


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, {1: 2}, torch.float32, object])
def test_what_json_would_change_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"router 'linear': its option size = .* cannot be written as JSON"):
        RouterConfig("linear", 32, 8, 2, {"size": value}).to_json()


def test_tensors_are_kept_apart() -> None:
    router_config = RouterConfig("hash", 32, 8, 2, {"seed": 3, "token_counts": torch.arange(9)})
    assert router_config.to_json()["options"] == {"seed": 3, "token_counts": None}
    again = RouterConfig.from_json(router_config.to_json(), router_config.tensors())
    assert torch.equal(again.options["token_counts"], torch.arange(9))


def test_a_router_made_aside_is_on_the_cpu_and_draws_from_nobody() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with torch.device("meta"):
        router = RouterConfig("mlp", 32, 8, 2).make_aside()
    assert {parameter.device.type for parameter in router.parameters()} == {"cpu"}
    assert torch.equal(torch.rand(2), expected)


def test_the_class_is_named_in_full() -> None:
    assert RouterConfig("attention", 32, 8, 2).class_path() == "routers.scorers.attention.AttentionRouter"
