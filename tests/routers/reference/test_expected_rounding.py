from __future__ import annotations

import pytest
import torch

from routers import create_router
from routers.reference.check import as_float64, check_router
from routers.scorers.linear import LinearRouter


@pytest.mark.parametrize("name", ["linear", "attention", "mlp", "hybrid", "mlp_hadamard", "hash", "self_supervised"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "mixed"])
@pytest.mark.parametrize("hidden_size", [64, 2048])
def test_routers_are_right_within_the_rounding_of_their_dtype(name: str, dtype: torch.dtype, hidden_size: int) -> None:
    torch.manual_seed(0)
    router = create_router(name, hidden_size=hidden_size, num_experts=8, top_k=2).to(dtype)
    check_router(router, torch.randn(64, hidden_size).bfloat16(), tolerance=None, tokens=8)


class Wrong(LinearRouter):
    """Computes with other weights than it has."""

    factor, shift = 1.0, 0

    def compute_router_logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return (self.factor * super().compute_router_logits(hidden_states)).roll(self.shift, dims=-1)


@pytest.mark.parametrize(("factor", "shift"), [(1.1, 0), (0.9, 0), (1.0, 1)])
@pytest.mark.parametrize("hidden_size", [64, 2048])
def test_a_wrong_router_is_found_in_bfloat16(
    factor: float, shift: int, hidden_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    router = Wrong(hidden_size=hidden_size, num_experts=8, top_k=2).bfloat16()
    hidden_states = torch.randn(64, hidden_size).bfloat16()
    check_router(router, hidden_states, tolerance=None)
    # The reference is a copy of the router, so that it must be wrong in the fast computation alone.
    exact = as_float64(router)
    monkeypatch.setattr("routers.reference.check.as_float64", lambda module: exact)
    router.factor, router.shift = factor, shift
    with pytest.raises(AssertionError, match="differ from the float64 reference"):
        check_router(router, hidden_states, tolerance=None)
