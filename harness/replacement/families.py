"""The families of Mixture-of-Experts models whose routers can be replaced, and those whose cannot.

A family says by which selection rule its gates select, how they answer their blocks, and what no other place says.
Another family is one more statement at the end of this file, and the sizes of a tiny model of it in
`tests/harness/tiny_families.py`, on which every test of the families then runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from harness.replacement.gate_forms import GateForm
from harness.replacement.special_forms import (
    DenseWeights,
    JointlyWeighed,
    LogitsAlone,
    MultipliedLogits,
    NearRivals,
    OneHot,
    ProbabilitiesFirst,
    RecordedByBlock,
    SortedRows,
    UnusedBias,
    WithNoExpert,
)

Choices = Mapping[str, Mapping[Any, Mapping[str, Any]]]


@dataclass(frozen=True)
class Family:
    """The facts of a family that cannot be read off a block.

    Attributes:
        rule: the name of the selection rule (`routers.list_selection_rules`) whose fields hold where the block does not
            say another value; `harness/replacement/rule_reading.py` has where it does.
        fields: fields of the rule that are otherwise in this family.
        choices: attribute of the gate, block or configuration -> its value -> the fields that it stands for.
        form: how its gates answer.
        model_types: of its configurations that hold the sizes, where they are not the family's name or that with _text.
        sizes: size -> where it is said, or its number, in the place of `harness.replacement.sizes.SIZES`.
        float32_weights: its gates give weights in float32 whatever the model's dtype.
        left_alone: an attribute of gates that stay as they are: they do not score.
        layer: a pattern, whose last match in a block's path is the layer's number.
    """

    rule: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    choices: Choices = field(default_factory=dict)
    form: type[GateForm] = GateForm
    model_types: tuple[str, ...] = ()
    sizes: Mapping[str, tuple[str, ...] | int] = field(default_factory=dict)
    float32_weights: bool = False
    left_alone: str | None = None
    layer: str = r"(?:^|\.)(\d+)(?=\.|$)"


FAMILIES: dict[str, Family] = {}
"""transformers' folder of models -> the family."""
REFUSED: dict[str, str] = {}
"""transformers' folder of models -> why its gates cannot be replaced."""

_SCORE_FUNCTIONS: Choices = {
    "config.scoring_func": {
        "sqrtsoftplus": {"score_function": "sqrt_softplus"},
        "sigmoid": {"score_function": "sigmoid"},
    }
}
_GREEDY: Choices = {
    "gate.topk_method": {
        "greedy": {"num_groups": 1, "groups_kept": None},
        "group_limited_greedy": {},
    }
}

# Their rule has their name, and their gates say the rest.
_PLAIN = """
    aria ernie4_5_moe flex_olmo gpt_oss granitemoe granitemoe_swa granitemoehybrid granitemoeshared
    hunyuan_v1_moe jamba laguna mellum mistral4 olmoe qwen2_moe qwen3_5_moe qwen3_moe qwen3_next qwen3_vl_moe qwen4_exp
"""
_PLAIN_IN_FLOAT32 = """
    afmoe axk1 axk2 bailing_hybrid beam deepseek_v3 deepseek_v32 dots1 exaone_moe flint glm4_moe glm4_moe_lite glm4v_moe
    glm5_next glm_moe_dsa hy_v3 hy_v4 kimi_linear kolibri1 mimo_v2_flash minimax minimax_m2 minimax_m3_vl mistral_large4
    mixtral openai_privacy_filter solar_open
"""
FAMILIES |= {name: Family(rule=name) for name in _PLAIN.split()}
FAMILIES |= {name: Family(rule=name, float32_weights=True) for name in _PLAIN_IN_FLOAT32.split()}
FAMILIES["cohere2_moe"] = Family(
    rule="cohere2_moe",
    choices={
        "gate.expert_selection_fn": {
            "softmax": {"norm_topk_prob": True},
            "sigmoid": {"score_function": "sigmoid", "weighed_by": "sigmoid", "precision": "model"},
        }
    },
)
FAMILIES["dbrx"] = Family(
    rule="dbrx",
    choices={
        "block.moe_normalize_expert_weights": {None: {"norm_topk_prob": False}, 1.0: {"norm_topk_prob": True}},
    },
    form=LogitsAlone,
    sizes={"hidden_size": ("gate.hidden_size",), "num_experts": ("gate.layer.out_features",)},
)
FAMILIES["deepseek_v2"] = Family(rule="deepseek_v2", float32_weights=True, choices=_GREEDY)
FAMILIES["deepseek_ocr2"] = Family(rule="deepseek_ocr2", float32_weights=True, choices=_GREEDY)
FAMILIES["unlimited_ocr"] = Family(rule="unlimited_ocr", float32_weights=True, choices=_GREEDY)
FAMILIES["deepseek_v4"] = Family(rule="deepseek_v4", choices=_SCORE_FUNCTIONS, left_alone="tid2eid")
FAMILIES["inkling2"] = Family(rule="inkling2", float32_weights=True, choices=_SCORE_FUNCTIONS)
FAMILIES["dots3_note"] = Family(
    rule="dots3_note", float32_weights=True, model_types=("dots3_note_text", "dots3_note_vision_encoder")
)
FAMILIES["ernie4_5_vl_moe"] = Family(rule="ernie4_5_vl_moe", form=RecordedByBlock)
_GEMMA = Family(
    rule="gemma4",
    float32_weights=True,
    form=ProbabilitiesFirst,
    sizes={
        "hidden_size": ("gate.hidden_size",),
        "num_experts": ("gate.proj.out_features", "experts.num_experts"),
        "top_k": ("config.top_k_experts",),
    },
)
FAMILIES["gemma4"] = _GEMMA
FAMILIES["diffusion_gemma"] = _GEMMA
FAMILIES["inkling"] = Family(
    rule="minimax_m2",
    fields={"norm_topk_prob": False, "precision": "float32", "scale": 1.0},  # the form has the others
    form=JointlyWeighed,
    sizes={"num_experts": ("gate.num_experts", "experts.num_experts")},
)
FAMILIES["jetmoe"] = Family(rule="jetmoe", form=SortedRows)
FAMILIES["lfm2_moe"] = Family(
    rule="lfm2_moe", choices={"gate.use_expert_bias": {True: {}, False: {"ranked_by": "scores"}}}
)
FAMILIES["llama4"] = Family(rule="llama4", form=DenseWeights)
FAMILIES["longcat_flash"] = Family(
    rule="longcat_flash", float32_weights=True, form=UnusedBias, sizes={"num_experts": ("gate.n_routed_experts",)}
)
FAMILIES["muse_spark"] = Family(
    rule="muse_spark",
    float32_weights=True,
    form=MultipliedLogits,
    sizes={"hidden_size": ("gate.hidden_dim", "gate.weight.shape.1")},
)
FAMILIES["nemotron_h"] = Family(
    rule="nemotron_h", float32_weights=True, sizes={"hidden_size": ("gate.hidden_dim", "gate.weight.shape.1")}
)
FAMILIES["phimoe"] = Family(rule="qwen2_moe", form=NearRivals)
FAMILIES["qwen3_omni_moe"] = Family(
    rule="qwen3_omni_moe", model_types=("qwen3_omni_moe_text", "qwen3_omni_moe_talker_text")
)
FAMILIES["step3p7"] = Family(rule="step3p7", float32_weights=True, model_types=("step3p5",))
FAMILIES["switch_transformers"] = Family(
    rule="switch_transformers", form=OneHot, sizes={"top_k": 1}, layer=r"block\.(\d+)"
)
FAMILIES["zaya"] = Family(rule="zaya", form=WithNoExpert, sizes={"num_experts": ("gate.num_router_classes",)})
REFUSED["doge"] = "its block scores 2·√E keys, whose sums are its E experts' scores, and selects among them itself"
REFUSED["nllb_moe"] = "transformers' block takes a token's mask for numbers of experts, and calls the first two alone"


def family_of(model_type: str | None) -> str | None:
    """The family whose configuration has this `model_type`; None for one that is unknown."""
    for name in (*FAMILIES, *REFUSED):
        others = FAMILIES[name].model_types if name in FAMILIES else ()
        if model_type in (name, f"{name}_text", name.replace("_", "-"), *others):
            return name
    return None


def folder_of(module: nn.Module) -> str | None:
    """transformers' folder of models in which a module's class is defined; None for a class of anybody else's."""
    parts = type(module).__module__.split(".")
    return parts[2] if parts[:2] == ["transformers", "models"] and len(parts) > 2 else None


def form_of(gate: nn.Module) -> type[GateForm]:
    """How a gate of a model's own answers."""
    family = FAMILIES.get(folder_of(gate) or "")
    return GateForm if family is None else family.form
