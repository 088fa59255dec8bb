from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.language_model.models import LoadedModel
from bench.language_model.shared_weights import TWIN, OwnGates, install_routers, make_shared_copy
from harness.replacement.moe_blocks import STOCK, find_moe_blocks
from harness.replacement.router_gate import RouterGate
from routers import list_routers


def gates(model: nn.Module) -> list[nn.Module]:
    return [block.gate for block in find_moe_blocks(model)]


def test_a_shared_copy_has_the_models_weights_and_modules_of_its_own(loaded: LoadedModel) -> None:
    shared_copy = make_shared_copy(loaded.model)
    assert [id(weight) for weight in shared_copy.parameters()] == [id(weight) for weight in loaded.model.parameters()]
    assert [id(buffer) for buffer in shared_copy.buffers()] == [id(buffer) for buffer in loaded.model.buffers()]
    assert not set(shared_copy.modules()) & set(loaded.model.modules())


@pytest.mark.parametrize("name", [STOCK, *list_routers()])
def test_routers_in_one_shared_copy_leave_the_model_and_other_copies_alone(loaded: LoadedModel, name: str) -> None:
    before = gates(loaded.model)
    shared_copy, other = make_shared_copy(loaded.model), make_shared_copy(loaded.model)
    untouched = gates(other)
    install_routers(name)(shared_copy)
    assert gates(loaded.model) == before
    assert gates(other) == untouched


@pytest.mark.parametrize("name", [STOCK, TWIN, "linear"])
def test_what_was_put_in_is_told_and_can_be_taken_out(loaded: LoadedModel, name: str) -> None:
    shared_copy = make_shared_copy(loaded.model)
    before = gates(shared_copy)
    installed = install_routers(name)(shared_copy)
    assert list(installed.routers) == [block.name for block in find_moe_blocks(shared_copy)]
    assert not set(gates(shared_copy)) & set(before)
    installed.restore()
    assert gates(shared_copy) == before


def test_the_models_own_gates_are_copied_with_their_weights_and_can_be_trained(loaded: LoadedModel) -> None:
    shared_copy = make_shared_copy(loaded.model)
    original = [gate.weight for gate in gates(shared_copy)]
    OwnGates(shared_copy)
    for gate, weight in zip(gates(shared_copy), original, strict=True):
        assert type(gate) is not RouterGate
        assert torch.equal(gate.weight, weight)
        assert gate.weight.data_ptr() != weight.data_ptr()
        assert (gate.weight.requires_grad, weight.requires_grad) == (True, False)


def test_blocks_that_share_a_gate_share_its_copy(loaded: LoadedModel) -> None:
    shared_copy = make_shared_copy(loaded.model)
    first, second = find_moe_blocks(shared_copy)
    second.module.gate = first.gate
    OwnGates(shared_copy)
    assert first.gate is second.gate


def test_a_shared_copy_with_the_models_own_gates_answers_as_the_model(loaded: LoadedModel) -> None:
    shared_copy = make_shared_copy(loaded.model)
    OwnGates(shared_copy)
    ids = loaded.read(2, 20)
    with torch.no_grad():
        answer, expected = (model(input_ids=ids, output_router_logits=True) for model in (shared_copy, loaded.model))
    # The copied gates lie elsewhere in memory, so a processor may round differently: logits below 1 by a few 1e-7.
    torch.testing.assert_close(answer.logits, expected.logits, atol=1e-6, rtol=0)
    for one, other in zip(answer.router_logits, expected.router_logits, strict=True):
        best, experts = other.topk(3)
        # No token is so near a tie that rounding decides which two of the eight experts it gets.
        assert float((best[:, 1] - best[:, 2]).min()) > 1e-5
        assert torch.equal(one.topk(2).indices.sort().values, experts[:, :2].sort().values)
