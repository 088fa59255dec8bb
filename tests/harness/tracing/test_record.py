"""A model's decisions are recorded as its gates make them, and are what reports reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

import harness
from harness.replacement.gate_hooks import hear_gates
from harness.replacement.injection import replace_routers
from harness.replacement.moe_blocks import find_moe_blocks
from harness.tracing.record import record_routing
from reports.traces import analyse, read_trace
from routers import metrics
from tests.harness.tiny_families import EXPERTS, IDS, LAYERS, TOP_K, tiny_family

LINES = [torch.tensor([5, 9, 3, 7, 11, 8]), torch.tensor([4, 6, 10]), torch.tensor([7, 7])]
TOKENS = sum(map(len, LINES))


@pytest.fixture(scope="module")
def model() -> Any:
    transformers.logging.set_verbosity_error()
    return tiny_family("mixtral")


def test_it_is_the_harness_own(model: Any) -> None:
    assert harness.record_routing is record_routing
    with pytest.raises(AttributeError, match="no attribute 'record'"):
        harness.record  # noqa: B018


def test_decisions_are_those_of_transformers_logits(model: Any, tmp_path: Any) -> None:
    with torch.no_grad():
        expected = model(IDS, output_router_logits=True).router_logits
    recorded = record_routing(model.train(), IDS, path=tmp_path / "new" / "t.safetensors", logits=True)
    assert model.training
    model.eval()
    trace = read_trace(tmp_path / "new" / "t.safetensors")
    assert (trace.num_experts, trace.layer_names, trace.token_ids.tolist()) == (
        EXPERTS,
        ("0", "1"),
        IDS.flatten().tolist(),
    )
    for layer, logits in enumerate(expected):
        assert np.array_equal(trace.experts[:, layer], logits.topk(TOP_K).indices.numpy())
        torch.testing.assert_close(recorded.logits[layer], logits)  # type: ignore[index]
        top = logits.softmax(-1).topk(TOP_K).values
        torch.testing.assert_close(recorded.weights[:, layer], top / top.sum(-1, keepdim=True))


def test_padding_is_left_out_and_texts_stand_in_order(model: Any, tmp_path: Any) -> None:
    recorded = record_routing(model, LINES, domains=["x", "y", "x"], batch_size=2, path=tmp_path / "t.safetensors")
    assert recorded.experts.shape == (TOKENS, LAYERS, TOP_K)
    assert torch.equal(recorded.token_ids, torch.cat(LINES))  # type: ignore[arg-type]
    assert read_trace(tmp_path / "t.safetensors").domains.tolist() == ["x"] * 6 + ["y"] * 3 + ["x"] * 2
    alone = [record_routing(model, [line]).experts for line in LINES]
    assert torch.equal(recorded.experts, torch.cat(alone))


def test_what_a_model_is_called_with_may_be_given(model: Any) -> None:
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    recorded = record_routing(model, {"input_ids": IDS, "attention_mask": mask})
    assert len(recorded.experts) == 10
    embedded = record_routing(model, {"inputs_embeds": model.get_input_embeddings()(IDS)})
    assert embedded.token_ids is None
    assert torch.equal(embedded.experts, record_routing(model, IDS).experts)


@pytest.mark.parametrize("family", ["deepseek_v3", "switch_transformers", "llama4", "gpt_oss", "zaya"])
def test_other_forms_of_gates(family: str, tmp_path: Any) -> None:
    """Sigmoid, bias and groups; one-hot answers in encoder and decoder; dense weights; a class for no expert."""
    model = tiny_family(family)
    heard: dict[str, torch.Tensor] = {}
    blocks = find_moe_blocks(model)
    gates = {block.name: block.gate for block in blocks}
    with hear_gates(gates, lambda name, _, decision: heard.update({name: decision[2]})):
        recorded = record_routing(model, IDS, path=tmp_path / "t.safetensors", logits=True)
    trace = read_trace(tmp_path / "t.safetensors")
    assert np.array_equal(trace.experts, torch.stack([heard[block.name] for block in blocks], dim=1).numpy())
    found = analyse(trace)
    rule = blocks[0].rule
    with hear_gates({"gate": blocks[0].gate}, lambda _, __, decision: heard.update(logits=decision[0])):
        record_routing(model, IDS)
    probs = rule.probabilities(rule.score(heard["logits"]))
    assert found.probabilities["token_entropy"][0] == pytest.approx(float(metrics.token_entropy(probs)), rel=1e-4)
    assert recorded.about["rule"]


def test_replaced_routers_are_recorded_with_the_slots_that_they_leave_empty(model: Any, tmp_path: Any) -> None:
    with replace_routers(model, "linear", initialise="original", selection="top_p", limit=0.4) as replacement:
        heard = []
        (router, _) = replacement.routers.values()
        with torch.no_grad():
            router.weight.mul_(20)  # type: ignore[operator]  # some tokens are sure then
        with hear_gates({"router": router}, lambda *call: heard.append(call[2])):
            record_routing(model, IDS, path=tmp_path / "t.safetensors", logits=True)
    trace = read_trace(tmp_path / "t.safetensors")
    kept = heard[0].kept.numpy()
    assert 0 < kept.sum() < kept.size
    assert trace.empty_slots
    assert np.array_equal(trace.experts[:, 0] >= 0, kept)
    assert analyse(trace).experts_per_token[0, 0] == pytest.approx(kept.sum(axis=1).mean())


def test_blocks_that_share_a_gate_are_told_apart(model: Any) -> None:
    first, second = find_moe_blocks(model)
    own = second.gate
    before = record_routing(model, IDS).experts[:, 0]
    try:
        setattr(second.module, second.gate_name, first.gate)
        recorded = record_routing(model, IDS)
    finally:
        setattr(second.module, second.gate_name, own)
    assert recorded.experts.shape == (12, 2, TOP_K)
    assert torch.equal(recorded.experts[:, 0], before)
    assert not torch.equal(recorded.experts[:, 1], before)


@pytest.mark.parametrize(
    ("inputs", "options", "line"),
    [
        (IDS, {"path": "t.pt"}, r"^path is 't\.pt', expected a name that ends in \.safetensors$"),
        ([], {}, r"^inputs hold no token ids"),
        (LINES, {"domains": ["x"]}, r"^domains are 1 labels, expected one for each of 3 texts$"),
        (LINES, {"layers": [7]}, r"^layers \[7\] have no experts; those that have: \[0, 1\]$"),
        (LINES, {"batch_size": 0}, r"^batch_size is 0, expected at least 1$"),
    ],
)
def test_mistakes_are_one_line(model: Any, inputs: Any, options: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        record_routing(model, inputs, **options)


def test_layers_can_be_chosen(model: Any) -> None:
    assert record_routing(model, IDS, layers=[1]).layer_names == ("1",)
