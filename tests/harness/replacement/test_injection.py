"""Routers in language models of every family: tiny ones with random weights, which show the wiring and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from harness.replacement.injection import replace_routers
from harness.replacement.moe_blocks import GATES, find_moe_blocks
from harness.replacement.router_gate import RouterGate
from harness.saving.routers import load_routers, save_routers
from routers import LogitRouter, Router, list_routers, temporary_router
from routers.routing import Routing
from routers.scorers import hadamard_matrix
from tests.harness.tiny_models import EXPERTS, HIDDEN, IDS, LAYERS, OWN_SIZES, SIZES, TOP_K, logits_of, tiny_model


@pytest.fixture(scope="module", params=sorted(OWN_SIZES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(family: str) -> Any:
    return tiny_model(family)


@pytest.fixture
def qwen() -> Any:
    return tiny_model("qwen2_moe")


def test_blocks_say_what_their_gates_are(model: Any, family: str) -> None:
    blocks = find_moe_blocks(model)
    assert [block.layer for block in blocks] == list(range(LAYERS))
    for block in blocks:
        assert (block.hidden_size, block.num_experts, block.top_k) == (HIDDEN, EXPERTS, TOP_K)
        assert block.gate_name in GATES
        assert block.gate is getattr(block.module, block.gate_name)


@pytest.mark.parametrize(
    ("name", "gate_name", "norm_topk_prob"),
    [
        ("qwen2_moe", "gate", False),
        ("qwen3_moe", "gate", False),
        ("olmoe", "gate", False),
        ("mixtral", "gate", True),
        ("gpt_oss", "router", True),
        ("deepseek_v3", "gate", True),
    ],
)
def test_how_gates_are_called_and_whether_their_weights_sum_to_one(
    name: str, gate_name: str, norm_topk_prob: bool
) -> None:
    block = find_moe_blocks(tiny_model(name))[0]
    assert (block.gate_name, block.norm_topk_prob) == (gate_name, norm_topk_prob)


def test_restored_it_is_bit_for_bit_as_before(model: Any) -> None:
    before, state = logits_of(model), {key: value.clone() for key, value in model.state_dict().items()}
    replacement = replace_routers(model, "mlp")
    assert not torch.equal(logits_of(model), before)
    replacement.restore()
    replacement.restore()
    assert torch.equal(logits_of(model), before)
    after = model.state_dict()
    assert list(after) == list(state)
    assert all(torch.equal(after[key], state[key]) for key in state)


@pytest.mark.parametrize("name", list_routers())
def test_every_router_works_in_every_family(model: Any, name: str) -> None:
    with replace_routers(model, name) as replacement:
        output = logits_of(model)
        assert output.isfinite().all()
        assert len(replacement.routers) == LAYERS
        assert all(isinstance(router, Router) for router in replacement.routers.values())


@pytest.mark.parametrize("name", ["qwen2_moe", "qwen3_moe", "olmoe", "mixtral"])
def test_a_linear_router_with_the_original_weights_is_the_original(name: str) -> None:
    model = tiny_model(name)
    before = logits_of(model)
    with replace_routers(model, "linear", initialise="original"):
        torch.testing.assert_close(logits_of(model), before)


def test_one_with_a_bias_too() -> None:
    model = tiny_model("gpt_oss")
    before = logits_of(model)
    with pytest.raises(ValueError, match="bias=True"):
        replace_routers(model, "linear", initialise="original")
    with replace_routers(model, "linear", initialise="original", bias=True):
        torch.testing.assert_close(logits_of(model), before)


@pytest.mark.parametrize("captured_before", [False, True])
def test_router_logits_are_recorded_once_for_each_layer(model: Any, family: str, captured_before: bool) -> None:
    if captured_before:
        model(IDS, output_router_logits=True)
    with replace_routers(model, "attention"):
        recorded = model.model(IDS, output_router_logits=True).router_logits
        assert [logits.shape for logits in recorded] == [(IDS.numel(), EXPERTS)] * LAYERS
    recorded = model.model(IDS, output_router_logits=True).router_logits
    assert len(recorded) == LAYERS


def test_the_auxiliary_loss_reaches_the_new_routers(qwen: Any) -> None:
    with replace_routers(qwen, "mlp") as replacement:
        qwen(IDS, output_router_logits=True).aux_loss.backward()
        for router in replacement.routers.values():
            assert all(parameter.grad.abs().sum() > 0 for parameter in router.parameters())


def test_what_is_recorded_has_the_routers_probabilities(qwen: Any) -> None:
    with replace_routers(qwen, "hybrid") as replacement:
        hidden_states = torch.randn(5, HIDDEN)
        logits, weights, experts = replacement.replaced[0].gate(hidden_states)
        probs = replacement.replaced[0].router.compute_router_probabilities(hidden_states)
        torch.testing.assert_close(logits.softmax(dim=-1), probs)
        torch.testing.assert_close(weights, probs.gather(1, experts))


def test_weights_are_scaled_as_deepseeks_are() -> None:
    model = tiny_model("deepseek_v3", routed_scaling_factor=2.5)
    with replace_routers(model, "linear") as replacement:
        _, weights, _ = replacement.replaced[0].gate(torch.randn(2, 3, HIDDEN))
        torch.testing.assert_close(weights.sum(dim=-1), torch.full((6,), 2.5))


def test_generating_with_a_cache_gives_what_it_gives_without(model: Any) -> None:
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    with replace_routers(model, "linear"):
        with_cache = model.generate(IDS, attention_mask=torch.ones_like(IDS), use_cache=True, **options)
        without = model.generate(IDS, attention_mask=torch.ones_like(IDS), use_cache=False, **options)
    assert torch.equal(with_cache, without)


def test_gradient_checkpointing_gives_the_same_gradients(qwen: Any) -> None:
    def gradients() -> list[torch.Tensor]:
        qwen.zero_grad()
        qwen(IDS, labels=IDS, output_router_logits=True).loss.backward()
        return [parameter.grad.clone() for parameter in qwen.parameters() if parameter.grad is not None]

    with replace_routers(qwen, "mlp"):
        qwen.train()
        plain = gradients()
        qwen.activation_checkpointing_enable()
        again = gradients()
    # Exactly: a checkpointed layer is computed a second time by the same operations.
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_checkpointing_again_keeps_the_auxiliary_losses_own_gradients(qwen: Any) -> None:
    # reentrant checkpointing would drop them without a word
    def gradients() -> list[torch.Tensor]:
        qwen.zero_grad()
        qwen(IDS, output_router_logits=True).aux_loss.backward()
        return [parameter.grad.clone() for parameter in replacement.replaced[1].router.parameters()]

    with replace_routers(qwen, "linear") as replacement:
        qwen.train()
        plain = gradients()
        qwen.activation_checkpointing_enable()
        again = gradients()
    assert all(gradient.abs().sum() > 0 for gradient in plain)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


@pytest.fixture
def compiler() -> Iterator[Any]:
    """Clean before and after: what was compiled in one test is nothing to another."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield torch._dynamo.utils.counters
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("name", "recording"), [("attention", False), ("attention", True), ("hybrid", True), ("self_supervised", True)]
)
def test_a_compiled_model_stays_one_graph(qwen: Any, name: str, recording: bool, compiler: Any) -> None:
    assert qwen.config._experts_implementation == "grouped_mm"
    options = {"output_router_logits": recording}
    with replace_routers(qwen, name), torch.no_grad():
        expected = qwen(IDS, **options)
        compiled = torch.compile(qwen, backend="eager", dynamic=False)(IDS, **options)
    # Exactly: the backend "eager" calls the same kernels in the same order.
    assert torch.equal(compiled.logits, expected.logits)
    assert compiler["graph_break"] == {}
    assert compiler["stats"]["unique_graphs"] == 1
    if recording:
        assert torch.equal(compiled.aux_loss, expected.aux_loss)


def test_gradients_go_through_a_compiled_model(compiler: Any) -> None:
    qwen = tiny_model("qwen2_moe", num_hidden_layers=1)

    def gradients(model: Any) -> list[torch.Tensor]:
        qwen.zero_grad()
        model(IDS, labels=IDS).loss.backward()
        return [parameter.grad.clone() for parameter in replacement.replaced[0].router.parameters()]

    with replace_routers(qwen, "linear") as replacement:
        expected = gradients(qwen)
        torch.testing.assert_close(gradients(torch.compile(qwen, backend="aot_eager", dynamic=False)), expected)


def test_compiled_blocks_record_for_a_model_that_is_not(qwen: Any, compiler: Any) -> None:
    with replace_routers(qwen, "linear"), torch.no_grad():
        expected = qwen(IDS, output_router_logits=True).router_logits
        for layer in qwen.model.layers:
            layer.mlp.compile(backend="eager", dynamic=False)
        recorded = qwen(IDS, output_router_logits=True).router_logits
    assert len(recorded) == LAYERS
    assert all(torch.equal(a, b) for a, b in zip(recorded, expected, strict=True))


def test_restored_it_is_saved_and_loaded_as_ever(qwen: Any, tmp_path: Path) -> None:
    before = logits_of(qwen)
    replace_routers(qwen, "mlp").restore()
    qwen.save_pretrained(tmp_path)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(value, qwen.state_dict()[name]) for name, value in loaded.state_dict().items())
    # Weights that lie elsewhere in memory may be multiplied by another kernel.
    torch.testing.assert_close(logits_of(loaded), before)


def test_replaced_it_is_saved_and_loaded_with_its_routers_beside(qwen: Any, tmp_path: Path) -> None:
    # A plain from_pretrained goes on with random gates; load_routers puts the saved routers in their place.
    replace_routers(qwen, "mlp")
    qwen.save_pretrained(tmp_path)
    save_routers(qwen, tmp_path)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert not torch.equal(logits_of(loaded), logits_of(qwen))
    load_routers(loaded, tmp_path)
    assert all(torch.equal(value, qwen.state_dict()[name]) for name, value in loaded.state_dict().items())
    torch.testing.assert_close(logits_of(loaded), logits_of(qwen))


def test_a_float32_router_in_a_bfloat16_model(model: Any) -> None:
    model.to(torch.bfloat16)
    with replace_routers(model, "mlp") as replacement:
        assert logits_of(model).dtype == torch.bfloat16
        assert {p.dtype for router in replacement.routers.values() for p in router.parameters()} == {torch.float32}


def test_some_layers_alone(qwen: Any) -> None:
    with replace_routers(qwen, "hash", layers=[1]) as replacement:
        assert list(replacement.routers) == ["model.layers.1.mlp"]
        assert not isinstance(qwen.model.layers[0].mlp.gate, RouterGate)


def test_k_and_options_are_handed_on(qwen: Any) -> None:
    with replace_routers(qwen, "linear", top_k=3, bias=True, norm_topk_prob=True) as replacement:
        router = replacement.routers["model.layers.0.mlp"]
        assert (router.top_k, router.norm_topk_prob) == (3, True)
        assert router.bias is not None


def test_blocks_that_share_a_gate_share_its_successor(qwen: Any) -> None:
    qwen.model.layers[1].mlp.gate = qwen.model.layers[0].mlp.gate
    with replace_routers(qwen, "linear") as replacement:
        first, second = replacement.routers.values()
        assert first is second
        assert logits_of(qwen).isfinite().all()
    assert qwen.model.layers[1].mlp.gate is qwen.model.layers[0].mlp.gate


def test_blocks_may_share_their_experts(qwen: Any) -> None:
    qwen.model.layers[1].mlp.experts = qwen.model.layers[0].mlp.experts
    with replace_routers(qwen, "linear") as replacement:
        first, second = replacement.routers.values()
        assert first is not second
        assert logits_of(qwen).isfinite().all()
    assert qwen.model.layers[1].mlp.experts is qwen.model.layers[0].mlp.experts


def test_a_block_that_stands_in_two_layers_is_replaced_once(qwen: Any) -> None:
    qwen.model.layers[1].mlp = qwen.model.layers[0].mlp
    before = logits_of(qwen)
    with replace_routers(qwen, "linear") as replacement:
        assert list(replacement.routers) == ["model.layers.0.mlp"]
        recorded = qwen.model(IDS, output_router_logits=True).router_logits
        assert len(recorded) == LAYERS
    assert torch.equal(logits_of(qwen), before)


def test_the_report_names_every_block(qwen: Any) -> None:
    report = replace_routers(qwen, "mlp").report().splitlines()
    assert len(report) == LAYERS
    assert report[0].startswith("model.layers.0.mlp.gate: Qwen2MoeTopKRouter (128 parameters) -> MLPRouter (")


def test_modes_follow_the_model(qwen: Any) -> None:
    assert not replace_routers(qwen, "linear").replaced[0].router.training


@pytest.fixture(scope="module")
def large() -> Any:
    with torch.device("meta"):
        sizes = {"num_hidden_layers": 24, "num_experts": 60, "hidden_size": 2048, "num_experts_per_tok": 4}
        return tiny_model("qwen2_moe", **sizes)


@pytest.mark.parametrize("name", list_routers())
def test_a_large_model_on_the_meta_device(large: Any, name: str) -> None:
    replacement = replace_routers(large, name)
    assert len(replacement.replaced) == 24
    assert all(p.is_meta for router in replacement.routers.values() for p in router.parameters())
    replacement.restore()


def test_its_hadamard_matrix_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(hadamard_matrix, "hadamard_matrix", made.append)  # None: rows are then cut, with a warning
    hadamard_matrix._construct_rows.cache_clear()
    with torch.device("meta"):
        model = tiny_model("qwen2_moe", num_hidden_layers=24)
    replace_routers(model, "mlp_hadamard", width=3)
    assert made == [HIDDEN]
    hadamard_matrix._construct_rows.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"router": "liner"}, "unknown router 'liner'; there are: "),
        ({"router": "linear", "top_k": 5}, "top_k"),
        (
            {"router": "linear", "initialise": "trained"},
            "unknown initialisation 'trained'; there are: random, original",
        ),
        (
            {"router": "linear", "layers": [0, 7]},
            r"layers \[7\] have no experts to route to; those that have: \[0, 1\]",
        ),
        ({"router": "linear", "layers": []}, "layers= is empty"),
        ({"router": "mlp", "initialise": "original"}, "MLPRouter has no weight"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_changed(qwen: Any, arguments: dict, message: str) -> None:
    before = logits_of(qwen)
    with pytest.raises(ValueError, match=message):
        replace_routers(qwen, **arguments)
    assert torch.equal(logits_of(qwen), before)


def test_a_second_replacement_needs_the_first_restored(qwen: Any) -> None:
    with replace_routers(qwen, "linear"), pytest.raises(ValueError, match="replaced already"):
        replace_routers(qwen, "mlp")


def test_a_model_without_experts_and_an_unknown_family(qwen: Any) -> None:
    config = transformers.AutoConfig.for_model("llama", **SIZES)
    with pytest.raises(ValueError, match=r"\(llama\) has no Mixture-of-Experts block: no module has 'experts'"):
        find_moe_blocks(transformers.AutoModelForCausalLM.from_config(config))
    qwen.config.model_type = "new_moe"
    with pytest.raises(ValueError, match="model_type 'new_moe' is unknown: 2 modules have 'experts'"):
        find_moe_blocks(qwen)


def test_a_size_that_nothing_says(qwen: Any) -> None:
    del qwen.model.layers[0].mlp.gate.top_k
    qwen.config = SimpleNamespace(model_type="qwen2_moe")
    with pytest.raises(ValueError, match=r"layers.0.mlp: its top_k is said by none of gate.top_k, block.top_k, config"):
        find_moe_blocks(qwen)


def test_a_router_that_moves_experts_to_tokens_is_refused(qwen: Any) -> None:
    class Soft(LogitRouter):
        def compute_router_logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
            return hidden_states[..., : self.num_experts]

        def forward(self, hidden_states: torch.Tensor, **side_inputs: Any) -> Routing:
            class Slots(Routing):
                tokens_per_expert = dispatch = combine = None  # type: ignore[assignment]

            return Slots(self.num_experts)

    with (
        temporary_router("soft", Soft),
        replace_routers(qwen, "soft"),
        pytest.raises(TypeError, match="Soft gives a Slots; a block of a language model"),
    ):
        logits_of(qwen)


def test_experts_are_the_same_objects(model: Any) -> None:
    experts = [block.module.experts for block in find_moe_blocks(model)]
    with replace_routers(model, "linear"):
        assert all(a is b.module.experts for a, b in zip(experts, find_moe_blocks(model), strict=True))


def test_a_copy_of_a_replaced_model_works(qwen: Any) -> None:
    with replace_routers(qwen, "linear"):
        twin = copy.deepcopy(qwen)
        assert torch.equal(logits_of(twin), logits_of(qwen))
    assert isinstance(twin.model.layers[0].mlp.gate, nn.Module)


def test_a_distilled_start_says_what_it_came_to(qwen: Any) -> None:
    before = logits_of(qwen)
    replacement = replace_routers(qwen, "linear", initialise="distilled", calibration=list(IDS))
    assert list(replacement.fits) == list(replacement.routers)
    assert all(fit.agreement[1] >= fit.agreement[0] for fit in replacement.fits.values())
    # Twelve tokens that it knows by heart.
    torch.testing.assert_close(logits_of(qwen), before, atol=0.2, rtol=0.2)
    assert replace_routers(tiny_model("qwen2_moe"), "linear").fits == {}


@pytest.mark.parametrize(
    ("initialise", "calibration", "line"),
    [
        ("distilled", None, "needs calibration="),
        ("distilled", [], "calibration= is empty"),
        ("random", [IDS[0]], "for initialise='distilled' alone"),
        ("original", [IDS[0]], "for initialise='distilled' alone"),
    ],
)
def test_calibration_goes_with_a_distilled_start(qwen: Any, initialise: str, calibration: Any, line: str) -> None:
    before = logits_of(qwen)
    with pytest.raises(ValueError, match=line):
        replace_routers(qwen, "linear", initialise=initialise, calibration=calibration)
    assert torch.equal(logits_of(qwen), before)
