"""Every router class of transformers: our rule on its logits selects the same experts with the same weights."""

import pytest
import torch

from tests.routers.selection.gates import (
    BEGIN,
    END,
    EXCEPTIONS,
    PAGE,
    SETTINGS,
    compared,
    gate_classes,
    make_gate,
    table,
)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", compared())
def test_our_rule_selects_and_weighs_as_the_class_does(name, setting):
    made = make_gate(name, setting)
    ours, own = made.by_our_rule(), made.weights
    assert torch.equal(ours != 0, own != 0)
    torch.testing.assert_close(ours, own.to(ours.dtype), atol=1e-6, rtol=0)
    assert int((own != 0).sum()) > 0


@pytest.mark.parametrize("name", [name for name in compared() if name != "Inkling2TopKRouter"])  # has no bfloat16
def test_in_bfloat16_our_rule_is_as_precise_as_the_class(name):
    made = make_gate(name, "plain", torch.bfloat16)
    ours, own = made.by_our_rule(), made.weights.float()
    assert torch.equal(ours != 0, own != 0)
    torch.testing.assert_close(ours, own, atol=0, rtol=2**-7)


def test_a_bias_a_group_and_a_cap_change_what_is_selected():
    # else the comparison above would say nothing of them
    grouped = make_gate("DeepseekV3TopkRouter", "grouped")
    assert grouped.rule.groups_kept == 2
    for changed in ({"groups_kept": 4}, {"ranked_by": "scores"}, {"scale": 1.0}, {"norm_topk_prob": False}):
        bias = None if "ranked_by" in changed else grouped.bias
        other = type(grouped.rule)(**{**_fields(grouped.rule), **changed}).select(grouped.logits, 3, bias)
        dense = torch.zeros_like(grouped.logits).scatter(1, other.selected_experts, other.routing_weights)
        assert not torch.allclose(dense, grouped.weights), changed


def _fields(rule):
    return {name: getattr(rule, name) for name, field in type(rule).__dataclass_fields__.items() if field.init}


def test_the_exceptions_exist_and_all_others_are_compared():
    assert set(EXCEPTIONS) <= set(gate_classes())
    assert sum(name.endswith("Router") for name in gate_classes()) >= 74


def test_the_pages_table_is_what_was_found():
    written = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip()
    assert written == table(), "python -m tests.routers.selection.gates writes it"
