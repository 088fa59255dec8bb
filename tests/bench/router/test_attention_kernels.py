"""Which attention kernel ran."""

from __future__ import annotations

import pytest
import torch

from bench.router.checked import backend
from routers import create_router
from routers.scorers.fused_attention import KERNELS

SIZES = {"hidden_size": 32, "num_experts": 8, "top_k": 2}


@pytest.mark.parametrize("gradients", [False, True])
def test_the_kernel_is_named_that_torch_has_chosen(gradients: bool) -> None:
    router = create_router("attention", backend="fused", **SIZES)
    with torch.set_grad_enabled(gradients):
        said = backend(router, torch.randn(5, 32))
    assert said == {"backend": "sdpa: aten::_scaled_dot_product_flash_attention_for_cpu"}


def test_another_choice_of_torchs_is_another_name() -> None:
    router = create_router("attention", backend="sdpa", **SIZES)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        assert backend(router) == {"backend": "sdpa"}


def test_what_has_no_kernel_or_no_choice_names_none() -> None:
    assert backend(create_router("attention", **SIZES)) == {"backend": "plain"}
    assert backend(create_router("linear", **SIZES)) == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["flash3", "flash", "torch_flash"])
def test_on_a_card_flash_attention_runs_where_it_is_asked_for(name: str) -> None:
    router = create_router("attention", backend=name, **SIZES).to("cuda")
    with torch.no_grad():
        if (obstacle := KERNELS[name].obstacle(router.expert_keys)) is not None:  # type: ignore[arg-type]  # a parameter
            pytest.skip(obstacle)
        said = backend(router, torch.randn(256, 32, device="cuda"))["backend"]
    assert said.startswith(f"{name}: ")
    assert "flash" in said.removeprefix(name)
