"""Sizes of blocks whose gate has no float weight, and of blocks that contradict themselves.

Axes: D hidden size, E experts, I intermediate size, G groups of a quantised matrix.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from harness.replacement.moe_blocks import find_moe_blocks
from harness.replacement.sizes import read_sizes

D, E, K, I, G = 64, 32, 4, 16, 2  # noqa: E741  # the axis letters


class Packed(nn.Module):
    """GPTQ's buffers of a linear map at 4 bits, eight weights to an int32."""

    def __init__(self, in_features: int, out_features: int, *, says: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.register_buffer("qweight", torch.zeros(in_features // 8, out_features, dtype=torch.int32))
        self.register_buffer("qzeros", torch.zeros(G, out_features // 8, dtype=torch.int32))
        self.register_buffer("scales", torch.zeros(G, out_features, dtype=torch.float16))
        self.register_buffer("g_idx", torch.zeros(in_features, dtype=torch.int32))
        for name in says:
            setattr(self, name, out_features if name.startswith("out") else in_features)


def expert(linear: Any) -> nn.Module:
    return nn.ModuleDict({"gate_proj": linear(D, I), "up_proj": linear(D, I), "down_proj": linear(I, D)})


def block(gate: nn.Module, experts: nn.Module, **config: int) -> dict[str, Any]:
    return {
        "gate": gate,
        "experts": experts,
        "block": nn.Module(),
        "config": SimpleNamespace(num_experts_per_tok=K, **config),
    }


def fused(num_experts: int = E) -> nn.Module:
    experts = nn.Module()
    experts.num_experts = num_experts
    experts.gate_up_proj = nn.Parameter(torch.zeros(num_experts, 2 * I, D))
    return experts


def weightless(**attributes: Any) -> nn.Module:
    gate = nn.Module()
    for name, value in attributes.items():
        setattr(gate, name, value)
    return gate


@pytest.mark.parametrize(
    "places",
    [
        pytest.param(block(nn.Linear(D, E), fused()), id="a_float_gate"),
        pytest.param(block(nn.Linear(D, E).half(), fused()), id="a_half_precision_gate"),
        pytest.param(block(Packed(D, E, says=("in_features", "out_features")), fused()), id="packed_with_features"),
        pytest.param(block(Packed(D, E, says=("infeatures", "outfeatures")), fused()), id="packed_by_older_names"),
        pytest.param(block(Packed(D, E), fused()), id="packed_buffers_alone"),
        pytest.param(
            block(weightless(), nn.ModuleList(expert(nn.Linear) for _ in range(E))), id="from_one_module_an_expert"
        ),
        pytest.param(
            block(weightless(), nn.ModuleList(expert(Packed) for _ in range(E))), id="from_packed_experts_one_each"
        ),
        pytest.param(
            block(weightless(weight=SimpleNamespace(data=torch.zeros(E, D))), fused()), id="from_the_data_of_a_weight"
        ),
        pytest.param(
            block(weightless(weight=torch.zeros(D * E // 2, 1, dtype=torch.uint8)), fused(), hidden_size=D),
            id="a_packed_weight_says_nothing",
        ),
        pytest.param(block(weightless(weight=lambda: None), fused(), hidden_size=D), id="nor_does_a_weight_to_call"),
    ],
)
def test_sizes_are_read(places: dict[str, Any]) -> None:
    assert read_sizes("mlp", places) == {"hidden_size": D, "num_experts": E, "top_k": K}


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (
            block(weightless(num_experts=8, hidden_dim=D), fused(8), num_experts=60),
            "mlp: its num_experts is 8 by gate.num_experts, but 60 by config.num_experts",
        ),
        (
            block(nn.Linear(D, E), nn.ModuleList(expert(nn.Linear) for _ in range(E - 1))),
            f"mlp: its num_experts is {E} by gate.out_features, but {E - 1} by experts.count",
        ),
        (
            block(Packed(D, E), nn.ModuleList(expert(lambda i, o: Packed(2 * i, o)) for _ in range(E))),
            f"mlp: its hidden_size is {D} by gate.g_idx.shape.0, but {2 * D} by experts.0.gate_proj.g_idx.shape.0",
        ),
        (
            block(nn.Linear(D, E), fused(), hidden_size=D + 1),
            f"mlp: its hidden_size is {D} by gate.in_features, but {D + 1} by config.hidden_size",
        ),
    ],
)
def test_places_that_disagree_are_both_named(places: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        read_sizes("mlp", places)
    assert str(error.value) == message


def test_the_gates_own_k_counts() -> None:
    assert read_sizes("mlp", block(weightless(top_k=2, hidden_dim=D), fused()))["top_k"] == 2


def test_what_was_looked_for_is_listed_where_nothing_says_a_size() -> None:
    places = block(weightless(), nn.Module())
    with pytest.raises(ValueError, match=r"mlp: its hidden_size is said by none of gate.hidden_dim, gate.in_features"):
        read_sizes("mlp", places)
    places["gate"] = weightless(hidden_dim=D)
    with pytest.raises(ValueError, match=r"num_experts is said by none of .*experts.count, config.num_experts, "):
        read_sizes("mlp", places)


def test_a_whole_model_with_packed_gates_and_experts_one_by_one() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace(model_type="qwen2_moe", num_experts=E, num_experts_per_tok=K)
            self.layers = nn.ModuleList(nn.ModuleDict({"mlp": self.make_block()}) for _ in range(2))

        @staticmethod
        def make_block() -> nn.Module:
            return nn.ModuleDict({"gate": Packed(D, E), "experts": nn.ModuleList(expert(Packed) for _ in range(E))})

    blocks = find_moe_blocks(Model())
    assert [(block.name, block.layer) for block in blocks] == [("layers.0.mlp", 0), ("layers.1.mlp", 1)]
    assert [(block.hidden_size, block.num_experts, block.top_k) for block in blocks] == [(D, E, K)] * 2
