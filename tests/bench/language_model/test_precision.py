"""Precisions at the layers of the smallest language model."""

from __future__ import annotations

import json

import pytest
import torch

from bench.language_model.models import LoadedModel
from bench.language_model.precision import OF_LAYERS, Activations, combine_layers
from harness.replacement.moe_blocks import STOCK, find_moe_blocks
from routers.precision_metrics import PRECISIONS


@pytest.fixture(scope="module")
def activations(loaded: LoadedModel) -> Activations:
    return Activations.record(loaded, 2, 12)


def test_what_the_gates_are_given_is_recorded_passage_by_passage(activations: Activations, loaded: LoadedModel) -> None:
    assert [each.shape for each in activations.passages.values()] == [(2, 12, 32)] * 2
    alone = Activations.record(loaded, 1, 12)
    for name, passages in alone.passages.items():
        torch.testing.assert_close(activations.passages[name][0], passages[0])


@pytest.mark.parametrize("router", [STOCK, "mlp"])
def test_layers_and_all_together(activations: Activations, router: str) -> None:
    gates = [block.gate for block in find_moe_blocks(activations.model)]
    behaviour = combine_layers([activations.observe(router, seed) for seed in range(2)])
    assert [block.gate for block in find_moe_blocks(activations.model)] == gates
    json.dumps(behaviour, allow_nan=False)
    precision = behaviour["precision"]
    assert (behaviour["seeds"], precision["undefined"]) == ([0, 1], None)
    assert precision["compared"].keys() == PRECISIONS.keys()
    layers = list(precision["layers"].values())
    assert [layer["bfloat16"].keys() for layer in layers] == [dict.fromkeys(OF_LAYERS).keys()] * 2
    # Every layer has as many tokens: all together are the mean of the layers.
    means = [layer["bfloat16"]["changed_tokens"]["mean"] for layer in layers]
    assert precision["compared"]["bfloat16"]["changed_tokens"]["mean"] == pytest.approx(sum(means) / 2)


def test_a_router_that_cannot_be_put_in_says_so(activations: Activations) -> None:
    behaviour = combine_layers([activations.observe("soft", 0)])
    assert "it fails in another precision (" in behaviour["precision"]["undefined"]
    assert behaviour["precision"]["compared"] == behaviour["precision"]["layers"] == {}
