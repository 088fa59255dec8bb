"""Routers in models around which others have put something: accelerate's offloading, PEFT, FSDP2, torch.compile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import accelerate
import peft
import pytest
import torch
from torch import distributed, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers import AutoModelForCausalLM

from harness.replacement.injection import replace_routers
from harness.replacement.moe_blocks import find_moe_blocks
from harness.saving.routers import load_routers, save_routers
from harness.text.perplexity import perplexity
from tests.harness.tiny_models import IDS, logits_of, tiny_model

CLOSE = {"atol": 3e-7, "rtol": 0}


def offloaded_to_the_cpu(model: Any, _folder: Path) -> Any:
    return accelerate.cpu_offload(model, execution_device=torch.device("cpu"))


def offloaded_to_the_disk(model: Any, folder: Path) -> Any:
    return accelerate.disk_offload(model, folder / "offloaded", execution_device=torch.device("cpu"))


def offloaded_by_a_device_map(model: Any, folder: Path) -> Any:
    model.save_pretrained(folder / "model")
    places = {"model.layers.1": "disk"} | dict.fromkeys(
        ("model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head"), "cpu"
    )
    return AutoModelForCausalLM.from_pretrained(
        folder / "model", device_map=places, offload_folder=folder / "offloaded"
    ).eval()


@pytest.fixture(params=[offloaded_to_the_cpu, offloaded_to_the_disk, offloaded_by_a_device_map])
def offloaded(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    model = request.param(tiny_model("qwen3_moe"), tmp_path)
    assert find_moe_blocks(model)[1].gate.weight.is_meta
    return model


def test_original_weights_of_an_offloaded_gate_are_read_from_where_they_are(offloaded: Any) -> None:
    before = logits_of(tiny_model("qwen3_moe"))
    with replace_routers(offloaded, "linear", initialise="original") as replacement:
        torch.testing.assert_close(logits_of(offloaded), before, **CLOSE)
        assert not any(router.weight.is_meta for router in replacement.routers.values())
    assert torch.equal(logits_of(offloaded), before)
    assert find_moe_blocks(offloaded)[1].gate.weight.is_meta


def test_an_offloaded_model_is_read_for_a_distilled_start_and_for_perplexity(offloaded: Any) -> None:
    options = {"initialise": "distilled", "calibration": list(IDS)}
    model = tiny_model("qwen3_moe")
    torch.manual_seed(0)
    expected = replace_routers(model, "linear", **options)
    torch.manual_seed(0)
    replacement = replace_routers(offloaded, "linear", **options)
    assert replacement.fits == expected.fits
    assert perplexity(offloaded, list(IDS)) == pytest.approx(perplexity(expected.model, list(IDS)), rel=1e-6)


def test_routers_of_an_offloaded_model_are_saved_and_loaded(offloaded: Any, tmp_path: Path) -> None:
    replace_routers(offloaded, "mlp")
    save_routers(offloaded, tmp_path / "saved")
    for other in (tiny_model("qwen3_moe"), offloaded_to_the_cpu(tiny_model("qwen3_moe"), tmp_path)):
        load_routers(other, tmp_path / "saved")
        torch.testing.assert_close(logits_of(other), logits_of(offloaded), **CLOSE)


def test_routers_that_were_offloaded_themselves_are_saved(tmp_path: Path) -> None:
    model, other = tiny_model(), tiny_model()
    replace_routers(model, "mlp")
    before = logits_of(model)
    save_routers(offloaded_to_the_cpu(model, tmp_path), tmp_path / "saved")
    load_routers(other, tmp_path / "saved")
    assert torch.equal(logits_of(other), before)


def test_a_gate_whose_values_are_nowhere_is_refused_in_a_line() -> None:
    model = tiny_model("qwen3_moe")
    gate = find_moe_blocks(model)[1].gate
    gate.to("meta").register_buffer("elsewhere", torch.ones(1))  # a hook of somebody's own would have them
    gate._hf_hook = accelerate.hooks.SequentialHook(accelerate.hooks.AlignDevicesHook(torch.device("cpu")))
    with pytest.raises(ValueError, match=r"Qwen3MoeTopKRouter has no values that could be copied \(meta device\)$"):
        replace_routers(model, "linear", initialise="original")


@pytest.mark.parametrize("wrap", ["modules_to_save", "compiled"])
def test_what_stands_around_a_new_gate_goes_with_it(wrap: str) -> None:
    model = tiny_model("qwen3_moe")
    before, gates = logits_of(model), [block.gate for block in find_moe_blocks(model)]
    replacement = replace_routers(model, "linear")
    if wrap == "modules_to_save":
        config = peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["gate"])
        peft.get_peft_model(model, config)
    else:
        for block in find_moe_blocks(model):
            block.module.gate = torch.compile(block.gate, backend="eager")
    assert not torch.equal(logits_of(model), before)
    replacement.restore()
    assert [block.gate for block in find_moe_blocks(model)] == gates
    assert torch.equal(logits_of(model), before)
    replacement.restore()


def test_gates_that_cannot_be_restored_are_named() -> None:
    model = tiny_model("qwen3_moe")
    replacement = replace_routers(model, "linear")
    peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["layers.0.mlp"]))
    with pytest.raises(ValueError, match=r"gates are not back.*: model\.layers\.0\.mlp\.mod\S+ \(RouterGate\)$"):
        replacement.restore()
    other = tiny_model("qwen3_moe")
    replacement = replace_routers(other, "linear")
    gate = other.model.layers[1].mlp.gate = nn.Identity()
    with pytest.raises(ValueError, match=r"model\.layers\.1\.mlp\.gate \(Identity\)$"):
        replacement.restore()
    assert other.model.layers[1].mlp.gate is gate
    assert other.model.layers[0].mlp.gate is replacement.replaced[0].original


def test_a_router_decides_under_autocast_as_without() -> None:
    with replace_routers(tiny_model("qwen3_moe", num_experts=64), "linear") as replacement:
        gate, hidden_states = replacement.replaced[0].gate, torch.randn(200, 32)
        expected = gate(hidden_states)
        with torch.autocast("cpu", torch.bfloat16):
            found = gate(hidden_states)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.fixture
def one_process() -> Iterator[None]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_fsdp2_takes_float32_routers_as_modules_of_their_own(tmp_path: Path) -> None:
    model = tiny_model("qwen3_moe").to(torch.bfloat16)
    replacement = replace_routers(model, "linear", initialise="original")
    before = logits_of(model)
    for layer in model.model.layers:
        fully_shard(layer.mlp.gate, mp_policy=MixedPrecisionPolicy(torch.float32, cast_forward_inputs=False))
        fully_shard(layer)
    fully_shard(model)
    assert torch.equal(logits_of(model), before)
    with pytest.raises(ValueError, match=r"^a \w+ is sharded by FSDP2 \(DTensor\): .* before that$"):
        save_routers(model, tmp_path / "new")
    model(IDS, labels=IDS).loss.backward()
    for router in replacement.routers.values():
        assert router.weight.dtype == router.weight.grad.dtype == torch.float32
        assert bool(router.weight.grad.full_tensor().any())


@pytest.mark.usefixtures("one_process")
def test_fsdp2_refuses_them_beside_a_body_of_another_dtype() -> None:
    model = tiny_model("qwen3_moe").to(torch.bfloat16)
    replace_routers(model, "linear")
    fully_shard(model)
    with pytest.raises(AssertionError, match="uniform original parameter dtype"):
        model(IDS)


@pytest.mark.usefixtures("one_process")
def test_original_weights_of_a_sharded_gate_are_refused_in_a_line() -> None:
    model = tiny_model("qwen3_moe")
    fully_shard(model)
    with pytest.raises(ValueError, match=r"^a Qwen3MoeTopKRouter is sharded by FSDP2"):
        replace_routers(model, "linear", initialise="original")
