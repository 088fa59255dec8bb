"""Losses of recorded router logits have their gradient under checkpointing, or refuse to be without it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.replacement.injection import Replacement, replace_routers
from tests.harness.tiny_models import IDS, tiny_model


@pytest.fixture
def model() -> Any:
    return tiny_model("qwen3_moe").train()


@pytest.fixture
def replacement(model: Any) -> Replacement:
    return replace_routers(model, "linear")


def checkpoint(model: Any, *, use_reentrant: bool) -> None:
    model.activation_checkpointing_enable({"use_reentrant": use_reentrant})
    model.enable_input_require_grads()


def gradients(model: Any, replacement: Replacement) -> list[torch.Tensor]:
    model.zero_grad()
    model(IDS, labels=IDS, output_router_logits=True).loss.backward()
    return [router.weight.grad.clone() for router in replacement.routers.values()]


def test_checkpointing_keeps_the_gradient_of_the_balancing_loss(model: Any, replacement: Replacement) -> None:
    plain = gradients(model, replacement)
    checkpoint(model, use_reentrant=False)
    assert all(torch.equal(a, b) for a, b in zip(gradients(model, replacement), plain, strict=True))


def test_reentrant_checkpointing_which_loses_it_is_refused_in_a_line(model: Any, replacement: Replacement) -> None:
    checkpoint(model, use_reentrant=True)
    with pytest.raises(ValueError, match=r"use_reentrant=True, which has no gradient.*; use use_reentrant=False$"):
        gradients(model, replacement)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning")
def test_what_asks_for_no_gradient_of_it_goes_on_as_before(model: Any, replacement: Replacement) -> None:
    model.zero_grad()
    model(IDS, labels=IDS).loss.backward()
    plain = [router.weight.grad.clone() for router in replacement.routers.values()]
    expected = model(IDS, output_router_logits=True).router_logits
    checkpoint(model, use_reentrant=True)
    model.zero_grad()
    output = model(IDS, labels=IDS)
    output.loss.backward()
    assert all(
        torch.equal(router.weight.grad, grad) for router, grad in zip(replacement.routers.values(), plain, strict=True)
    )
    with torch.no_grad():
        found = model(IDS, output_router_logits=True).router_logits
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
