"""What a block says of its selection rule is read, contradictions are refused, and the rule outlives saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from harness.replacement.gate_hooks import decide, hear_gates
from harness.replacement.injection import replace_routers
from harness.replacement.moe_blocks import find_moe_blocks
from harness.replacement.router_config import RouterConfig
from harness.replacement.router_gate import RouterGate
from harness.saving.routers import load_routers, save_routers
from routers import SelectionRule, TokenChoice
from routers.metrics import agreement
from tests.harness.tiny_families import EXPERTS, IDS, OWN_SIZES, output_of, tiny_config, tiny_family

DBRX = OWN_SIZES["dbrx"]["ffn_config"]
SAID = {
    "deepseek_v2": {"topk_method": "group_limited_greedy"},
    "deepseek_v3": {"norm_topk_prob": False, "n_group": 4, "topk_group": 2},
    "cohere2_moe": {"expert_selection_fn": "sigmoid"},
    "laguna": {"moe_router_logit_softcapping": 0.5},
    "lfm2_moe": {"use_expert_bias": False},
    "qwen2_moe": {"norm_topk_prob": True},
    "dbrx": {"ffn_config": DBRX | {"moe_normalize_expert_weights": None}},
    "deepseek_v4": {"scoring_func": "sigmoid"},
    "inkling2": {"scoring_func": "sqrtsoftplus"},
    "longcat_flash": {"router_bias": True},
    "axk2": {"n_group": None, "topk_group": None},
    "switch_transformers": {"expert_capacity": 1},
}
"""Family -> what a configuration says otherwise than the family's own."""


@pytest.fixture(scope="module")
def deepseek() -> Any:
    transformers.logging.set_verbosity_error()
    return tiny_family("deepseek_v3")


@pytest.mark.parametrize("family", sorted(SAID))
def test_what_a_configuration_says_is_heeded(family: str) -> None:
    model = tiny_family(family, **SAID[family])
    with torch.no_grad():
        expected = output_of(model)
        with replace_routers(model, "linear", initialise="original"):
            torch.testing.assert_close(output_of(model), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "family", ["deepseek_v3", "gemma4", "gpt_oss", "mixtral", "muse_spark", "openai_privacy_filter", "qwen3_moe"]
)
def test_in_half_precision_the_original_is_exact_too(family: str) -> None:
    model = tiny_family(family).to(torch.bfloat16)
    options = {"bias": True} if family in ("gpt_oss", "openai_privacy_filter") else {}
    with torch.no_grad():
        expected = output_of(model)
        with replace_routers(model, "linear", initialise="original", **options) as replacement:
            for router in replacement.routers.values():
                if router.selection.precision != "float32":  # the product is in the model's dtype there
                    router.to(torch.bfloat16)
            torch.testing.assert_close(output_of(model), expected, atol=1e-5, rtol=0)


def test_deepseeks_rule_is_read_whole() -> None:
    (block, _) = find_moe_blocks(tiny_family("deepseek_v3", topk_group=2, n_group=4, routed_scaling_factor=2.5))
    assert block.rule == SelectionRule(
        score_function="sigmoid",
        ranked_by="scores_plus_bias",
        num_groups=4,
        groups_kept=2,
        group_score="top2_sum",
        norm_topk_prob=True,
        epsilon=1e-20,
        scale=2.5,
        precision="float32",
    )


def test_the_bias_is_the_routers_own_whatever_its_scorer_and_start(deepseek: Any) -> None:
    biases = [block.gate.e_score_correction_bias.clone() for block in find_moe_blocks(deepseek)]
    with replace_routers(deepseek, "attention") as replacement:
        for router, bias in zip(replacement.routers.values(), biases, strict=True):
            assert torch.equal(router.selection_bias, bias)
            router.selection_bias.add_(1)
    assert all(
        torch.equal(block.gate.e_score_correction_bias, bias)
        for block, bias in zip(find_moe_blocks(deepseek), biases, strict=True)
    )


def test_another_rule_is_named_in_the_report(deepseek: Any) -> None:
    own = "the model by deepseek_v3 (num_groups=2, groups_kept=1, scale=1.5)"
    with replace_routers(deepseek, "linear", selection="softmax") as replacement:
        assert all(line.endswith(f", selects by softmax, {own}") for line in replacement.report().splitlines())
        assert replacement.replaced[0].router.selection_bias is None
    with replace_routers(deepseek, "hash") as replacement:  # it selects in a way of its own
        assert all(line.endswith(f", selects in a way of its own, {own}") for line in replacement.report().splitlines())
        _, weights, _ = replacement.replaced[0].gate(torch.randn(3, 32))
        torch.testing.assert_close(weights, torch.full((3, 1), 1.5))
    with replace_routers(deepseek, "linear") as replacement:
        assert "selects by" not in replacement.report()


def test_a_rule_may_take_fewer_experts_than_k(deepseek: Any) -> None:
    heard = []
    with replace_routers(deepseek, "linear", selection="top_p", limit=0.14) as replacement:
        router, gate = replacement.replaced[0].router, replacement.replaced[0].gate
        with hear_gates({"router": router}, lambda *call: heard.append(call[2])):  # by itself: its whole routing
            _, weights, _ = gate(torch.randn(40, 32))
    (routing,) = heard
    assert isinstance(routing, TokenChoice)
    assert 0 < int(routing.kept.sum()) < routing.kept.numel()
    assert torch.equal(weights > 0, routing.kept)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 5}, r"^top_k is 5, expected at most 4: 1 of 2 groups stay, of 4 experts each$"),
        ({"selection": "deepseek_v9"}, r"^unknown selection rule 'deepseek_v9'; there are: "),
        ({"num_groups": 3}, r"^num_groups is 3, expected a divisor of num_experts = 8$"),
    ],
)
def test_a_rule_that_cannot_be_is_one_line(deepseek: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace_routers(deepseek, "mlp", **options)


def test_a_block_that_contradicts_itself_is_one_line(deepseek: Any) -> None:
    gate = find_moe_blocks(deepseek)[1].gate
    bias, groups = gate.e_score_correction_bias, gate.num_group
    try:
        gate.e_score_correction_bias = torch.nn.Buffer(torch.zeros(5))
        with pytest.raises(ValueError, match=r"^model\.layers\.1\.mlp: its selection bias has shape \(5,\), expected"):
            replace_routers(deepseek, "linear")
        gate.e_score_correction_bias = None
        with pytest.raises(ValueError, match=r"^model\.layers\.1\.mlp: its selection bias is said by none of gate\."):
            replace_routers(deepseek, "linear")
        gate.num_group = 3
        with pytest.raises(ValueError, match=r"^model\.layers\.1\.mlp: num_groups is 3, expected a divisor"):
            find_moe_blocks(deepseek)
    finally:
        gate.e_score_correction_bias, gate.num_group = bias, groups
    dbrx = tiny_family("dbrx", ffn_config=DBRX | {"moe_normalize_expert_weights": 2.0})
    with pytest.raises(
        ValueError, match=r"its block\.moe_normalize_expert_weights is 2\.0, expected one of: None, 1\.0"
    ):
        find_moe_blocks(dbrx)


def test_a_block_for_one_expert_takes_no_more() -> None:
    with pytest.raises(ValueError, match=r"^linear: top_k is 2, expected 1: its block hands a token to one expert$"):
        replace_routers(tiny_family("switch_transformers"), "linear", top_k=2)


def test_layers_that_select_by_token_ids_are_left_as_they_are() -> None:
    assert [block.layer for block in find_moe_blocks(tiny_family("deepseek_v4"))] == [1]
    with pytest.raises(ValueError, match=r"^DeepseekV4ForCausalLM \(deepseek_v4\): none of its gates scores experts"):
        find_moe_blocks(tiny_family("deepseek_v4", mlp_layer_types=["hash_moe", "hash_moe"]))


def test_in_a_wrapper_the_family_is_that_of_the_part() -> None:
    from transformers import Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration

    vision = {"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "out_hidden_size": 32}
    text = tiny_config("qwen3_vl_moe").to_dict()
    config = Qwen3VLMoeConfig(text_config=text, vision_config=vision | {"deepstack_visual_indexes": [0]})
    model = Qwen3VLMoeForConditionalGeneration(config).eval()
    assert [block.name for block in find_moe_blocks(model)] == [
        f"model.language_model.layers.{layer}.mlp" for layer in (0, 1)
    ]
    with torch.no_grad():
        expected = model(IDS).logits
        with replace_routers(model, "linear", initialise="original"):
            torch.testing.assert_close(model(IDS).logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["deepseek_v3", "inkling", "gemma4", "dbrx", "switch_transformers"])
def test_rule_bias_and_what_stays_are_saved_and_restored(family: str, tmp_path: Path) -> None:
    model = tiny_family(family)
    with torch.no_grad():
        with replace_routers(model, "mlp") as replacement:
            for router in replacement.routers.values():
                if router.selection_bias is not None:
                    router.selection_bias.uniform_(-1, 1)
            expected, rules = output_of(model), [router.selection for router in replacement.routers.values()]
            save_routers(replacement, tmp_path)
        with load_routers(model, tmp_path) as loaded:
            assert torch.equal(output_of(model), expected)
            assert [router.selection for router in loaded.routers.values()] == rules
            assert "selects by" not in loaded.report()


def test_routers_that_were_saved_without_a_rule_are_read_as_they_were(deepseek: Any, tmp_path: Path) -> None:
    options = {"norm_topk_prob": True}  # as all were described before rules were data
    with replace_routers(deepseek, "linear") as replacement, torch.no_grad():
        for each in replacement.replaced:
            router_config = RouterConfig("linear", 32, EXPERTS, 2, options)
            gate = RouterGate(router_config.make(), router_config, 2.5)
            setattr(each.block.module, each.block.gate_name, gate)
        expected = output_of(deepseek)
        save_routers(deepseek, tmp_path)
        for each in replacement.replaced:
            setattr(each.block.module, each.block.gate_name, each.original)
    with load_routers(deepseek, tmp_path) as loaded, torch.no_grad():
        assert torch.equal(output_of(deepseek), expected)
        assert loaded.replaced[0].router.selection == SelectionRule()


def test_a_distilled_linear_router_selects_as_deepseeks_own_gate() -> None:
    experts, top_k = 64, 8
    sizes = {"n_routed_experts": experts, "num_experts": experts, "num_local_experts": experts}
    model = tiny_family("deepseek_v3", **sizes, num_experts_per_tok=top_k, n_group=8, topk_group=4)
    assert find_moe_blocks(model)[0].rule.groups_kept == 4
    assert find_moe_blocks(model)[0].selection_bias().abs().max() > 0.25  # type: ignore[union-attr]
    generator = torch.Generator().manual_seed(0)
    lines, held_out = (torch.randint(3, 61, (count, 32), generator=generator) for count in (64, 16))
    torch.manual_seed(0)
    with replace_routers(model, "linear", initialise="distilled", calibration=list(lines)) as replacement:
        replaced = {each.block.name: each for each in replacement.replaced}
        heard = {}

        def hear(name: str, inputs: Any, decision: Any) -> None:
            _, weights, selected = decide(replaced[name].original, *inputs)
            own, ours = (
                torch.zeros(len(weights), experts).scatter(1, chosen, w / model.config.routed_scaling_factor)
                for chosen, w in ((selected, weights), (decision[2], decision[1]))
            )
            heard[name] = float(agreement(selected, decision[2])), float((own - ours).abs().sum(dim=-1).mean())

        with hear_gates({name: each.gate for name, each in replaced.items()}, hear), torch.no_grad():
            model(held_out)
    assert len(heard) == 2
    assert all(alike >= 0.97 and distance < 0.05 for alike, distance in heard.values()), heard
