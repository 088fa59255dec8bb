from __future__ import annotations

import pytest
import torch

from bench.language_model.models import LoadedModel
from bench.language_model.scenarios import LanguageModelScenario, PreparedCall, get_language_model_scenario
from bench.language_model.shared_weights import install_routers, make_shared_copy
from bench.presets import PRESETS
from bench.scenario import list_scenarios
from harness.replacement.moe_blocks import STOCK, find_moe_blocks


def prepare(scenario: str, name: str, loaded: LoadedModel, model_copy: torch.nn.Module | None = None) -> PreparedCall:
    chosen = get_language_model_scenario(scenario)
    with torch.set_grad_enabled(chosen.gradients):
        model_copy = model_copy or make_shared_copy(loaded.model)
        return chosen.prepare(model_copy, install_routers(name), loaded.read, chosen.shape(PRESETS["smoke"]))  # type: ignore[arg-type]  # any module will do here


@pytest.mark.parametrize("scenario", list_scenarios("language_model"))
@pytest.mark.parametrize("name", [STOCK, "hadamard_unconstrained", "hash", "mlp"])
def test_every_kind_of_router_can_be_called_again_and_again(scenario: str, name: str, loaded: LoadedModel) -> None:
    with torch.set_grad_enabled(get_language_model_scenario(scenario).gradients):
        prepared = prepare(scenario, name, loaded)
        for _ in range(3):
            prepared.call()
            if prepared.reset:
                prepared.reset()


@torch.no_grad()
def test_a_prefill_gives_the_logits_of_the_last_token(loaded: LoadedModel) -> None:
    result = prepare("prefill", STOCK, loaded).call()
    expected = loaded.model(input_ids=loaded.read(2, 16)).logits[:, -1:]
    assert torch.allclose(result.logits, expected, atol=1e-5)  # type: ignore[attr-defined]
    assert result.past_key_values is None  # type: ignore[attr-defined]


@torch.no_grad()
def test_a_decoded_token_is_the_one_after_those_in_the_cache_every_time(loaded: LoadedModel) -> None:
    prepared = prepare("decode", "linear", loaded)
    assert prepared.reset
    results = []
    for _ in range(3):
        results.append(prepared.call())
        assert results[-1].past_key_values.get_seq_length() == 17  # type: ignore[attr-defined]
        prepared.reset()
        assert results[-1].past_key_values.get_seq_length() == 16  # type: ignore[attr-defined]
    first, *others = [result.logits for result in results]  # type: ignore[attr-defined]
    assert all(torch.equal(first, other) for other in others)


@torch.no_grad()
def test_a_decoded_tokens_logits_are_those_of_the_whole_text_at_once(loaded: LoadedModel) -> None:
    result = prepare("decode", STOCK, loaded).call()
    expected = loaded.model(input_ids=loaded.read(1, 17)).logits[:, -1:]
    assert torch.allclose(result.logits, expected, atol=1e-5)  # type: ignore[attr-defined]


@torch.no_grad()
def test_a_decoded_token_can_be_taken_out_again_where_attention_has_a_window() -> None:
    from transformers import GptOssConfig, GptOssForCausalLM

    config = GptOssConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=8,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GptOssForCausalLM(config).train(False)
        ids = torch.randint(64, (1, 21))
    expected = model(input_ids=ids).logits[:, -1:]
    prepared = get_language_model_scenario("decode").prepare(
        make_shared_copy(model), install_routers(STOCK), lambda *shape: ids.view(shape), (1, 20)
    )
    assert prepared.reset
    for _ in range(3):
        assert torch.allclose(prepared.call().logits, expected, atol=1e-5)  # type: ignore[attr-defined]
        prepared.reset()


@pytest.mark.parametrize("name", [STOCK, "mlp"])
def test_a_step_trains_lora_and_routers_and_leaves_every_weight_as_it_was(name: str, loaded: LoadedModel) -> None:
    model_copy = make_shared_copy(loaded.model)
    prepared = prepare("finetune_step", name, loaded, model_copy)
    trained = {path: weight for path, weight in model_copy.named_parameters() if weight.requires_grad}
    before = {path: weight.detach().clone() for path, weight in model_copy.named_parameters()}
    prepared.call()
    assert {path for path in trained if "lora_" not in path} == {
        f"{block.name}.{block.gate_name}.{path}"
        for block in find_moe_blocks(model_copy)
        for path, _ in block.gate.named_parameters()
    }
    assert sum("lora_" in path for path in trained) == 3 * 4 * 2  # layers, projections, A and B
    assert all(weight.grad is not None for weight in trained.values())
    assert all(torch.equal(weight, before[path]) for path, weight in model_copy.named_parameters())
    assert prepared.reset
    prepared.reset()
    assert all(weight.grad is None for weight in model_copy.parameters())
    assert not any(weight.requires_grad for weight in loaded.model.parameters())


def test_an_injection_leaves_the_gates_that_were_there(loaded: LoadedModel) -> None:
    model_copy = make_shared_copy(loaded.model)
    gates = [block.gate for block in find_moe_blocks(model_copy)]
    prepare("inject", "attention", loaded, model_copy).call()
    assert [block.gate for block in find_moe_blocks(model_copy)] == gates


def test_sizes_are_the_presets_and_an_injection_reads_nothing() -> None:
    quick = PRESETS["quick"]
    said = {}
    for name, scenario in list_scenarios("language_model").items():
        assert isinstance(scenario, LanguageModelScenario)
        said[name] = scenario.shape(quick), scenario.tokens(*scenario.shape(quick))
    assert said == {
        "inject": ((0, 0), 0),
        "prefill": ((1, 64), 64),
        "decode": ((1, 64), 1),
        "finetune_step": ((1, 16), 16),
    }
