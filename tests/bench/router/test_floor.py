from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.router.floor import floor_call
from routers import create_router


def flops(call: object) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert callable(call)
        call()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", ["linear", "attention", "mlp", "hybrid", "mlp_hadamard", "self_supervised"])
def test_a_floor_does_a_routers_products_and_no_others(name: str) -> None:
    torch.manual_seed(0)
    router = create_router(name, hidden_size=64, num_experts=8, top_k=2).eval()
    hidden_states = torch.randn(32, 64)
    assert flops(floor_call(router, hidden_states)) == flops(lambda: router(hidden_states)) > 0


def test_a_router_without_products_reads_its_input_once() -> None:
    hidden_states = torch.randn(32, 64)
    call = floor_call(create_router("hash", hidden_size=64, num_experts=8, top_k=1), hidden_states)
    with torch.profiler.profile() as trace:
        call()
    assert [event.key for event in trace.key_averages() if event.key == "aten::sum"] == ["aten::sum"]
    assert flops(call) == 0


def test_a_floor_leaves_the_input_and_the_weights_as_they_are() -> None:
    router = create_router("mlp", hidden_size=64, num_experts=8, top_k=2).eval()
    hidden_states = torch.randn(32, 64)
    before, weights = hidden_states.clone(), [weight.clone() for weight in router.parameters()]
    with torch.no_grad():
        floor_call(router, hidden_states)()
    assert torch.equal(hidden_states, before)
    assert all(map(torch.equal, weights, router.parameters()))
