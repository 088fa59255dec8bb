from __future__ import annotations

import pytest
import torch

from routers import Router, create_router
from routers.reference.check import as_float64, check_router
from routers.reference.rounding import decided_masks
from routers.scorers.linear import LinearRouter
from routers.scorers.self_supervised import SelfSupervisedRouter


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


class WrongBeforeItsMask(SelfSupervisedRouter):
    """Likewise."""

    factor, shift = 1.0, 0

    def unmasked_logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return (self.factor * super().unmasked_logits(hidden_states)).roll(self.shift, dims=-1)


def spread(router: Router) -> None:
    """Logits of some size: those of weights as they begin are alike but for rounding, behind a small network."""
    if isinstance(router, SelfSupervisedRouter):
        with torch.no_grad():
            router.logit_proj.weight.mul_(60)


@pytest.mark.parametrize(("factor", "shift"), [(1.1, 0), (0.9, 0), (1.0, 1)])
@pytest.mark.parametrize("hidden_size", [64, 2048])
@pytest.mark.parametrize("kind", [Wrong, WrongBeforeItsMask])
def test_a_wrong_router_is_found_in_bfloat16(
    kind: type[Wrong | WrongBeforeItsMask],
    factor: float,
    shift: int,
    hidden_size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    router = kind(hidden_size=hidden_size, num_experts=8, top_k=2).bfloat16()
    spread(router)
    hidden_states = torch.randn(64, hidden_size).bfloat16()
    check_router(router, hidden_states, tolerance=None)
    # The reference is a copy of the router, so that it must be wrong in the fast computation alone.
    exact = as_float64(router)
    monkeypatch.setattr("routers.reference.check.as_float64", lambda module: exact)
    router.factor, router.shift = factor, shift
    with pytest.raises(AssertionError, match="differ from the float64 reference"):
        check_router(router, hidden_states, tolerance=None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_router_that_selects_others_behind_its_mask_is_found(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WrongMask(SelfSupervisedRouter):
        def compute_router_logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
            return super().compute_router_logits(hidden_states).roll(int(self.training), dims=-1)

    torch.manual_seed(0)
    router = WrongMask(hidden_size=64, num_experts=8, top_k=2).to(dtype).eval()
    spread(router)
    hidden_states = torch.randn(64, 64).to(dtype)
    check_router(router, hidden_states, tolerance=None)
    exact = as_float64(router)
    monkeypatch.setattr("routers.reference.check.as_float64", lambda module: exact)
    router.train()
    with pytest.raises(AssertionError, match="router_probs differ from the float64 reference"):
        check_router(router, hidden_states, tolerance=None)


def test_what_rounding_decides_of_a_mask_is_left_out() -> None:
    torch.manual_seed(0)
    router = create_router("self_supervised", hidden_size=64, num_experts=32, top_k=4).bfloat16()
    spread(router)
    tokens = torch.randn(256, 64).bfloat16()
    probs = as_float64(router).unmasked_logits(tokens.double()).softmax(dim=-1)
    decided = decided_masks(router, tokens, probs)
    assert 0.1 < float(decided.double().mean()) < 1
    found, right = router(tokens).router_probs > 0, as_float64(router)(tokens.double()).router_probs > 0
    assert torch.equal(found[decided], right[decided])
    check_router(router, tokens, tolerance=None, tokens=256)
