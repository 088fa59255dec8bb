from __future__ import annotations

import pytest
import torch

from bench.presets import get_preset
from bench.router.scenarios import get_router_scenario
from bench.router.stated_loads import Shares, half, rows_per_expert, stated_selection, uniform, zipf
from routers import FeedForwardExperts, create_router

LOADS = ("layer_uniform", "layer_zipf", "layer_half")


@pytest.mark.parametrize(
    ("shares", "num_experts", "tokens", "top_k", "rows"),
    [
        (uniform, 4, 6, 2, [3, 3, 3, 3]),
        (uniform, 4, 5, 1, [2, 1, 1, 1]),
        # 22 rows as 1 : 1/2 : 1/3, of which the sum is 11/6
        (zipf, 3, 22, 1, [12, 6, 4]),
        # the first would have 24 of 44, and a token selects it once: 22 are left, as 1/2 : 1/3
        (zipf, 3, 22, 2, [22, 13, 9]),
        (half, 5, 8, 1, [4, 1, 1, 1, 1]),
        (half, 5, 8, 2, [8, 2, 2, 2, 2]),
        (half, 5, 8, 3, [8, 4, 4, 4, 4]),
        (half, 1, 3, 1, [3]),
        (zipf, 3, 4, 3, [4, 4, 4]),
        (uniform, 3, 1, 2, [1, 1, 0]),
    ],
)
def test_rows_are_in_the_stated_proportion(
    shares: Shares, num_experts: int, tokens: int, top_k: int, rows: list[int]
) -> None:
    assert rows_per_expert(shares(num_experts), tokens, top_k) == rows


@pytest.mark.parametrize("shares", [uniform, zipf, half])
@pytest.mark.parametrize(("num_experts", "tokens", "top_k"), [(8, 100, 2), (64, 33, 8), (256, 7, 8), (5, 1, 5)])
def test_no_token_selects_an_expert_twice(shares: Shares, num_experts: int, tokens: int, top_k: int) -> None:
    chosen = stated_selection(shares(num_experts), tokens, top_k)
    assert chosen.shape == (tokens, top_k)
    assert all(len(set(row)) == top_k for row in chosen.tolist())
    counts = torch.bincount(chosen.flatten(), minlength=num_experts).tolist()
    assert counts == rows_per_expert(shares(num_experts), tokens, top_k)


def test_more_experts_a_token_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="top_k is 3, expected at most the 2 experts with a share"):
        rows_per_expert(uniform(2), 4, 3)


@pytest.mark.parametrize("name", LOADS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_stated_load_is_the_mean_of_the_selected_experts(name: str, dtype: torch.dtype) -> None:
    tokens = torch.randn(9, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    experts = FeedForwardExperts(4, 16, 8).to(dtype)
    router = create_router("linear", hidden_size=16, num_experts=4, top_k=2)
    shares = {"layer_uniform": uniform, "layer_zipf": zipf, "layer_half": half}[name](4)
    with torch.no_grad():
        call = get_router_scenario(name).prepare(router, tokens, lambda: experts)
        output = call()
        assert isinstance(output, torch.Tensor)
        chosen = stated_selection(shares, 9, 2).tolist()
        expected = [
            sum(experts(token[None], torch.tensor([expert])).double() for expert in row) / 2
            for token, row in zip(tokens, chosen, strict=True)
        ]
        assert torch.equal(output, call())
    assert output.dtype == dtype
    torch.testing.assert_close(
        output.double(),
        torch.cat(expected),
        rtol=0,
        atol=1e-5 if dtype == torch.float32 else 2e-2,  # type: ignore[arg-type]
    )


def test_loads_are_measured_where_a_preset_names_them_and_of_one_router() -> None:
    quick, layer = get_preset("quick"), get_preset("layer")
    for name in LOADS:
        scenario = get_router_scenario(name)
        assert not scenario.is_collected(quick)
        assert scenario.is_collected(layer)
        assert scenario.with_experts
        assert scenario.parameters(layer) == {"router_name": ["linear"], "input_name": ["random"]}
    assert "mlp" in get_router_scenario("layer").parameters(layer)["router_name"]
