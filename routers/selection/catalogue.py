"""The selection rules by name. Adding one is one statement, here or in a file of anybody's own.

A rule has the numbers of the model that it is named after: groups and scales are fields, which whoever asks for a rule
may give other values.
"""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any

from routers.selection.rule import SelectionRule

_rules: dict[str, SelectionRule] = {}
_aliases: dict[str, str] = {}


def register_selection_rule(name: str, rule: SelectionRule, *, aliases: tuple[str, ...] = ()) -> SelectionRule:
    """Make a rule known under a name.

    Args:
        name: letters, digits, '_' and '.'.
        rule: what it stands for.
        aliases: other names of the same rule, which `list_selection_rules` leaves out.

    Raises:
        ValueError: a name that is taken by another rule, or with other characters.
        TypeError: no rule, or aliases that are one string.
    """
    if not isinstance(rule, SelectionRule):
        raise TypeError(f"selection rule {name!r}: {rule!r} is no SelectionRule")
    if isinstance(aliases, str):
        raise TypeError(f"aliases of selection rule {name!r} are {aliases!r}, expected a tuple of names")
    for each in (name, *aliases):
        if not (isinstance(each, str) and re.fullmatch(r"[A-Za-z0-9_.]+", each)):
            raise ValueError(f"selection rule {each!r} must consist of letters, digits, '_' and '.'")
        known = _rules.get(resolve_alias(each))
        if known is not None and known != rule:
            raise ValueError(f"selection rule {each!r} is already registered, as {known}")
    _rules.setdefault(name, rule)
    _aliases.update(dict.fromkeys(aliases, name))
    return rule


def list_selection_rules() -> list[str]:
    """The names of all rules, sorted, without aliases."""
    return sorted(_rules)


def resolve_alias(name: str) -> str:
    """The name under which an alias's rule is listed; any other name as it is."""
    return _aliases.get(name, name)


def get_selection_rule(selection: SelectionRule | str, **changed_fields: Any) -> SelectionRule:
    """A rule, or the one behind a name or an alias, with some fields changed.

    Raises:
        ValueError: an unknown name (the message lists those that exist), something that is neither a rule nor a name,
            or a value that a field cannot have.
        TypeError: a field that there is not.
    """
    if isinstance(selection, str):
        name = resolve_alias(selection)
        if name not in _rules:
            raise ValueError(f"unknown selection rule {selection!r}; there are: {', '.join(list_selection_rules())}")
        selection = _rules[name]
    if not isinstance(selection, SelectionRule):
        raise ValueError(f"selection is {selection!r}, expected a SelectionRule or the name of one")
    known = [field.name for field in fields(SelectionRule) if field.init]
    for name in changed_fields:
        if name not in known:
            raise TypeError(f"a selection rule has no field {name!r}; it has: {', '.join(known)}")
    return replace(selection, **changed_fields) if changed_fields else selection


_SOFTMAX = register_selection_rule("softmax", SelectionRule())
register_selection_rule("qwen2_moe", SelectionRule(norm_topk_prob=False), aliases=("olmoe", "flex_olmo", "jamba"))
register_selection_rule(
    "qwen3_moe",
    _SOFTMAX,
    aliases=(
        *("hunyuan_v1_moe", "mellum", "minimax", "mixtral", "qwen3_5_moe", "qwen3_next", "qwen3_omni_moe"),
        *("qwen3_vl_moe", "qwen4_exp"),
    ),
)
register_selection_rule("dbrx", SelectionRule(precision="model"))
# The K best logits, then the softmax over them.
register_selection_rule(
    "granitemoe",
    SelectionRule(ranked_by="logits", weighed_by="softmax"),
    aliases=("granitemoe_swa", "granitemoehybrid", "granitemoeshared", "jetmoe", "cohere2_moe"),
)
_GPT_OSS = register_selection_rule(
    "gpt_oss", SelectionRule(ranked_by="logits", weighed_by="softmax", precision="model"), aliases=("aria",)
)
register_selection_rule("openai_privacy_filter", replace(_GPT_OSS, mean_of_experts=True, precision="float32"))
register_selection_rule("gemma4", SelectionRule(expert_scale=True), aliases=("diffusion_gemma",))
# Softmax scores, a bias in the ranking or groups, as each model has it.
register_selection_rule(
    "deepseek_v2",
    SelectionRule(
        num_groups=8, groups_kept=3, group_mask="zero", norm_topk_prob=False, scale=16.0, precision="float32"
    ),
    aliases=("deepseek_ocr2", "unlimited_ocr"),
)
_MISTRAL_4 = register_selection_rule(
    "mistral4", SelectionRule(group_score="top2_sum", group_mask="zero", epsilon=1e-20, precision="model")
)
register_selection_rule("mistral_large4", replace(_MISTRAL_4, precision="float32"))
register_selection_rule(
    "ernie4_5_moe",
    SelectionRule(ranked_by="scores_plus_bias", least_sum=1e-12, precision="float32"),
    aliases=("ernie4_5_vl_moe",),
)
register_selection_rule(
    "longcat_flash",
    SelectionRule(ranked_by="scores_plus_bias", norm_topk_prob=False, scale=6.0, precision="float32"),
)
register_selection_rule("zaya", SelectionRule(ranked_by="scores_plus_bias", norm_topk_prob=False, precision="model"))
register_selection_rule("switch_transformers", SelectionRule(norm_topk_prob=False, precision="float32"))
register_selection_rule("nllb_moe", SelectionRule(least_sum=2.0**-23, precision="float32"))
# Sigmoid scores, a bias in the ranking, and groups where num_groups is above 1.
_SIGMOID = SelectionRule(
    score_function="sigmoid", ranked_by="scores_plus_bias", group_score="top2_sum", epsilon=1e-20, precision="float32"
)
_DEEPSEEK_V3 = register_selection_rule(
    "deepseek_v3",
    replace(_SIGMOID, num_groups=8, groups_kept=4, scale=2.5),
    aliases=("axk1", "bailing_hybrid", "deepseek_v32"),
)
register_selection_rule("beam", replace(_DEEPSEEK_V3, scale=1.0))
register_selection_rule(
    "glm4_moe", _SIGMOID, aliases=("dots1", "dots3_note", "glm4v_moe", "mimo_v2_flash", "nemotron_h", "solar_open")
)
register_selection_rule("glm4_moe_lite", replace(_SIGMOID, scale=1.8))
register_selection_rule("exaone_moe", replace(_SIGMOID, scale=2.5), aliases=("glm5_next", "glm_moe_dsa"))
register_selection_rule("kimi_linear", replace(_SIGMOID, scale=2.446))
register_selection_rule("hy_v3", replace(_SIGMOID, scale=2.826))
register_selection_rule("hy_v4", replace(_SIGMOID, scale=2.827))
register_selection_rule("axk2", replace(_SIGMOID, group_mask="zero", scale=2.5))
register_selection_rule("inkling2", replace(_SIGMOID, scale=8.0))
register_selection_rule("muse_spark", replace(_SIGMOID, epsilon=1e-15))
register_selection_rule("afmoe", replace(_SIGMOID, precision="float32_scores"))
_MINIMAX_M2 = register_selection_rule(
    "minimax_m2", replace(_SIGMOID, epsilon=0.0, precision="float32_scores"), aliases=("minimax_m3_vl", "step3p7")
)
register_selection_rule("laguna", _MINIMAX_M2)  # its soft cap is 0, none, unless its configuration says another
register_selection_rule("lfm2_moe", replace(_SIGMOID, epsilon=1e-6, precision="model"))
# Sigmoids without a bias, or with one on the logits.
register_selection_rule("flint", SelectionRule(score_function="sigmoid", precision="float32"))
register_selection_rule(
    "kolibri1", SelectionRule(score_function="sigmoid", ranked_by="logits_plus_bias", precision="float32")
)
register_selection_rule("llama4", SelectionRule(score_function="sigmoid", ranked_by="logits", norm_topk_prob=False))
register_selection_rule(
    "deepseek_v4",
    SelectionRule(
        score_function="sqrt_softplus", ranked_by="scores_plus_bias", epsilon=1e-20, scale=1.5, precision="model"
    ),
)
# As many experts as a token needs, K at most.
register_selection_rule("top_p", SelectionRule(how_many="top_p", limit=0.9))
register_selection_rule("entropy", SelectionRule(how_many="entropy"))
register_selection_rule("threshold", SelectionRule(how_many="threshold", limit=0.1, norm_topk_prob=False))
register_selection_rule(
    "relu", SelectionRule(score_function="relu", how_many="threshold", limit=0.0, norm_topk_prob=False)
)
