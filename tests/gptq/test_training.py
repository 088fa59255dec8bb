"""Routers and LoRA in a GPTQ model: put in, trained, saved, and put into the model loaded anew."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from harness.language_models.gptq.load import load_quantised
from harness.replacement.injection import Replacement, replace_routers
from harness.replacement.moe_blocks import find_moe_blocks
from harness.saving.adapters import load_adapter, save_adapter
from harness.saving.routers import load_routers, save_routers
from routers import list_routers

IDS = torch.tensor([[5, 9, 3, 7, 11, 8, 1, 2], [4, 4, 6, 10, 12, 3, 2, 1]])
LORA = {"r": 4, "target_modules": [f"{name}_proj" for name in ("q", "k", "v", "o")], "task_type": "CAUSAL_LM"}


@torch.no_grad()
def answer(model: Any) -> Tensor:
    return model.eval()(IDS).logits


def with_lora(model: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return peft.get_peft_model(model, peft.LoraConfig(**(LORA | options)))


def with_routers_and_lora(model: Any, name: str = "attention") -> tuple[Any, Replacement]:
    torch.manual_seed(0)
    replacement = replace_routers(model, name)
    adapted = with_lora(model)
    for router in replacement.routers.values():
        router.requires_grad_(True)
    return adapted, replacement


def gradients(model: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model.train()
    model.zero_grad()
    model(input_ids=IDS, labels=IDS).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}


def train(model: Any, steps: int = 3) -> list[float]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    model.train()
    losses = []
    for _ in range(steps):
        loss = model(input_ids=IDS, labels=IDS).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", list_routers())
def test_a_router_goes_in_and_out_again(lasting_model: Any, name: str) -> None:
    before = answer(lasting_model)
    with replace_routers(lasting_model, name) as replacement:
        assert list(replacement.routers) == ["model.layers.0.mlp", "model.layers.2.mlp"]
        inside = answer(lasting_model)
        assert inside.isfinite().all()
        assert not torch.equal(inside, before)
    assert torch.equal(answer(lasting_model), before)


def test_the_original_gate_as_a_linear_router_is_the_same_model(lasting_model: Any) -> None:
    before = answer(lasting_model)
    with replace_routers(lasting_model, "linear", initialise="original"):
        torch.testing.assert_close(answer(lasting_model), before, rtol=1e-4, atol=1e-4)


def test_sizes_are_read_off_a_quantised_gate(model: Any) -> None:
    # A checkpoint whose gates are integers too: no weight of the gate's shape, packed buffers alone.
    experts = model.model.layers[0].mlp.experts[0].up_proj
    model.model.layers[0].mlp.gate = type(experts)(
        bits=4, group_size=32, sym=True, desc_act=False, in_features=64, out_features=4
    )
    block = find_moe_blocks(model)[0]
    assert (block.hidden_size, block.num_experts, block.top_k) == (64, 4, 2)
    with replace_routers(model, "mlp"):
        assert answer(model).isfinite().all()


def test_three_steps_train_routers_and_lora_alone(model: Any) -> None:
    adapted, replacement = with_routers_and_lora(model)
    integers = {name: buffer.clone() for name, buffer in adapted.named_buffers()}
    # LoRA's A gets none before B has moved away from zero, which the first step does.
    losses = train(adapted)
    found = gradients(adapted)
    wanted = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert {name for name, gradient in found.items() if gradient.abs().sum() > 0} == wanted
    assert len([name for name in wanted if ".gate." in name]) == sum(
        len(list(router.parameters())) for router in replacement.routers.values()
    )
    assert len([name for name in wanted if "lora_" in name]) == 3 * 4 * 2
    assert losses[-1] < losses[0]
    assert all(torch.equal(buffer, integers[name]) for name, buffer in adapted.named_buffers())


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_gradients_after_an_evaluation_are_the_same(
    quantised_directory: Path, context: Callable[[], AbstractContextManager[None]]
) -> None:
    fresh, evaluated = (with_routers_and_lora(load_quantised(quantised_directory))[0] for _ in range(2))
    evaluated.eval()
    with context():
        evaluated(input_ids=IDS)
    expected, actual = gradients(fresh), gradients(evaluated)
    assert expected.keys() == actual.keys()
    assert any(".gate." in name and gradient.abs().sum() > 0 for name, gradient in expected.items())
    assert any("lora_B" in name and gradient.abs().sum() > 0 for name, gradient in expected.items())
    for name, gradient in expected.items():
        assert torch.equal(actual[name], gradient), name


def test_trained_routers_and_adapter_go_into_the_model_loaded_anew(
    quantised_directory: Path, model: Any, tmp_path: Path
) -> None:
    adapted, _ = with_routers_and_lora(model)
    train(adapted)
    expected = answer(adapted)
    save_adapter(adapted, tmp_path)
    again = load_quantised(quantised_directory)
    assert not torch.equal(answer(again), expected)
    load_routers(again, tmp_path)
    assert (answer(load_adapter(again, tmp_path)) - expected).abs().max() == 0.0


def test_trained_routers_go_into_the_model_loaded_anew(quantised_directory: Path, model: Any, tmp_path: Path) -> None:
    replacement = replace_routers(model, "mlp")
    train(model)
    expected = answer(model)
    save_routers(replacement, tmp_path)
    again = load_quantised(quantised_directory)
    load_routers(again, tmp_path)
    assert (answer(again) - expected).abs().max() == 0.0


@pytest.mark.parametrize(
    ("name", "taken"), [("mlp.gate", {"gate"}), ("gate", {"gate", "shared_expert_gate"})], ids=["mlp.gate", "gate"]
)
def test_the_name_of_the_gate_is_a_suffix_to_peft(model: Any, name: str, taken: set[str]) -> None:
    adapted = with_lora(model, modules_to_save=[name])
    trained = {
        path.partition(".mlp.")[2].partition(".")[0] for path, p in adapted.named_parameters() if p.requires_grad
    }
    assert trained - {""} == taken
