"""Precisions over seeds, as the JSON has them, and the table of the rules."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from bench.router.precision import combine_precision, observe_precision, records
from bench.router.rule_precision import RULE_PRECISIONS, SHAPES, measure, table
from routers import Router, create_router
from routers.precision_metrics import PRECISIONS, QUANTITIES

HIDDEN_STATES = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))


def observed(name: str, seed: int) -> dict[str, object]:
    torch.manual_seed(seed)
    return observe_precision(create_router(name, hidden_size=16, num_experts=8, top_k=2), HIDDEN_STATES, seed)


def test_every_quantity_of_every_precision_has_a_value_a_seed() -> None:
    combined = combine_precision([observed("linear", seed) for seed in range(3)])
    assert combined is not None
    json.dumps(combined, allow_nan=False)
    assert combined["undefined"] is None
    assert combined["compared"].keys() == PRECISIONS.keys() == records()["precisions"].keys()
    for changes in combined["compared"].values():
        assert changes.keys() == QUANTITIES.keys()
        assert all(len(stat["values"]) == 3 and stat["mean"] is not None for stat in changes.values())


def test_what_is_not_defined_is_null_with_a_reason() -> None:
    combined = combine_precision([observed("hash", seed) for seed in range(2)])
    assert combined is not None
    assert combined["undefined"] == "it selects by itself: no rule ranks the experts"
    assert combined["compared"]["bfloat16"]["rank_margin_median"] == {"mean": None, "sd": None, "values": [None, None]}
    assert combined["compared"]["bfloat16"]["changed_tokens"]["mean"] > 0.5


def test_a_router_that_fails_in_bfloat16_says_so_and_ends_nothing() -> None:
    class Float32Alone(Router):
        def compute_router_probabilities(self, hidden_states: Tensor) -> Tensor:
            if hidden_states.dtype is torch.bfloat16:
                raise NotImplementedError("no kernel\nfor this")
            return torch.full((*hidden_states.shape[:-1], self.num_experts), 1 / self.num_experts)

    said = observe_precision(Float32Alone(16, 4, 2), HIDDEN_STATES, 0)
    combined = combine_precision([said, said])
    assert combined == {
        "undefined": "it fails in another precision (NotImplementedError: no kernel)",
        "compared": {},
    }


def test_nothing_is_said_where_nothing_was_asked() -> None:
    assert combine_precision([{}, {}]) is None


def test_finer_rules_change_fewer_decisions() -> None:
    torch.manual_seed(0)
    batches = [torch.randn(500, 32) for _ in range(2)]
    found = [measure(SHAPES[0], precision, batches) for precision in RULE_PRECISIONS]
    coarse, logits, fine = (sum(each["changed_tokens"]) for each in found)
    assert coarse > logits >= fine
    assert found[2]["arithmetic"] == pytest.approx([0, 0], abs=0.02)  # float32, of the same rounded values
    assert not any(math.isnan(share) for each in found for shares in each.values() for share in shares)


def test_the_table_has_a_row_for_each_shape_and_precision() -> None:
    lines = list(table([torch.randn(16, 32)], SHAPES[1:2]))
    assert len(lines) == 2 + len(RULE_PRECISIONS)
    assert lines[2].startswith("| 256 / 8, sigmoid, bias, 4 of 8 groups | `model` | ")
