"""The router classes of transformers, tiny and random, beside the selection rules that they follow.

`python -m tests.routers.selection.gates` writes the table of docs/reference/selection.md.
Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
import transformers.models
from torch import Tensor, nn

from routers import SelectionRule, get_selection_rule, list_selection_rules
from routers.selection.catalogue import resolve_alias

T, D, E, K = 16, 8, 16, 3
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "selection.md"
BEGIN, END = "<!-- transformers' classes: made by tests/routers/selection/gates.py -->", "<!-- end -->"
NAMED = re.compile(r"^class (\w*Router|JetMoeTopKGating|HunYuanMoEV1Gate)\(", re.MULTILINE)
"""Two gates are called otherwise; what else has "gate" in its name routes nothing."""

EXCEPTIONS = {
    "DeepseekV4HashRouter": "a table says the experts of each token id; their weights are made as by deepseek_v4",
    "GraniteDoclingDensityRouter": "says how dense an image is, and has no experts",
    "InklingTopkRouter": "experts that always run have a part in the sum by which weights are divided",
    "PhimoeTopKRouter": "SparseMixer: one expert after the other, each by a softmax over those that are close to it",
}
"""Classes that no rule over logits describes, and why."""

REMARKS = {
    "NllbMoeTop2Router": "without its capacity and its random second expert",
    "SwitchTransformersTop1Router": "without its capacity",
    "ZayaRouter": "the last expert does nothing, and its weight is 0",
}

SIZES: dict[str, Any] = {
    **dict.fromkeys(("num_experts", "num_local_experts", "moe_num_experts", "n_routed_experts"), E),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_top_k", "top_k_experts"), K),
    "hidden_size": D,
    "router_hidden_size": D,
    "vocab_size": 11,
    "zero_expert_num": 0,
    "n_shared_experts": 1,
    "rms_norm_eps": 1e-6,
    "moe_norm_min": 1e-12,
    "expert_capacity": T,
    "router_dtype": "float32",
    "router_bias": False,
    "router_jitter_noise": 0.0,
    "input_jitter_noise": 0.0,
    "moe_jitter_eps": None,
    "router_ignore_padding_tokens": False,
    "second_expert_policy": "all",
    "batch_prioritized_routing": False,
    "normalize_router_prob_before_dropping": False,
    "moe_eval_capacity_token_fraction": -1.0,
    "output_multiplier": 0.5,
    "use_expert_bias": True,
    "density_router_hidden_size": D,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "grouped": {
        "n_group": 4,
        "topk_group": 2,
        "topk_method": "group_limited_greedy",
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.5,
        "route_scale": 1.5,
        "router_scaling_factor": 1.5,
        "moe_router_logit_softcapping": 2.0,
        "expert_selection_fn": "sigmoid",
    },
    "plain": {
        "n_group": 1,
        "topk_group": 1,
        "topk_method": "greedy",
        "norm_topk_prob": False,
        "routed_scaling_factor": 1.0,
        "route_scale": 1.0,
        "router_scaling_factor": 1.0,
        "moe_router_logit_softcapping": 0.0,
        "expert_selection_fn": "softmax",
    },
}
"""What configurations say beside sizes: each gate is compared under both."""

SCORING = {"deepseek_v4": "sqrtsoftplus", "inkling2": "sigmoid"}

Reading = Callable[[Any], dict[str, Any]]
READINGS: dict[str, Reading] = {
    "num_group": lambda value: {"num_groups": value},
    "topk_group": lambda value: {"groups_kept": value},
    "topk_method": lambda value: {} if value == "group_limited_greedy" else {"num_groups": 1, "groups_kept": 1},
    "routed_scaling_factor": lambda value: {"scale": value},
    "route_scale": lambda value: {"scale": value},
    "router_scaling_factor": lambda value: {"scale": value},
    "norm_topk_prob": lambda value: {"norm_topk_prob": value},
    "norm_min": lambda value: {"least_sum": value},
    "norm_topk_prob_eps": lambda value: {"epsilon": value},
    "router_logit_softcapping": lambda value: {"soft_cap": value or None},
    "expert_selection_fn": lambda value: (
        {} if value == "softmax" else {"score_function": "sigmoid", "weighed_by": "sigmoid"}
    ),
}
"""An attribute of a gate -> fields of its rule."""


class Gate:
    """A gate of transformers with random values, and what its forward said of tokens.

    Attributes:
        logits: (T, E), what its rule is applied to.
        weights: (T, E), its own weights, 0 where an expert is not selected.
        rule: the one of the catalogue, with the fields that the gate's attributes say.
        bias: (E,), or None.
        expert_scale: (E,), or None.
        top_k: K.
    """

    def __init__(self, folder: str, gate_class: type[nn.Module], setting: str, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        name = gate_class.__name__
        self.gate = gate = _make(folder, gate_class, setting).eval()
        with torch.no_grad():
            for tensor in (*gate.parameters(), *gate.buffers()):
                if tensor.is_floating_point():
                    tensor.normal_(std=0.5)
        for parameter in gate.parameters():  # and not buffers: models keep the bias of a ranking in float32
            parameter.data = parameter.data.to(dtype)
        self.rule = get_selection_rule(folder, **_read(gate))
        self.top_k = {"SwitchTransformersTop1Router": 1, "NllbMoeTop2Router": 2}.get(name, K)
        self.expert_scale = getattr(gate, "per_expert_scale", None)
        tokens = torch.randn(1, T, D).to(dtype)
        if name in _FLAT:
            tokens = tokens[0]
        with torch.no_grad():
            self.bias, given = _bias_of(gate)
            output = gate(tokens.clone(), **given)
            self.logits = _LOGITS.get(name, lambda gate, tokens, output: output[0])(gate, tokens, output)
            self.weights = _WEIGHTS.get(name, _scattered)(self, output)

    def by_our_rule(self) -> Tensor:
        """Weights by the selection rule on the same logits, (T, E)."""
        with torch.no_grad():
            found = self.rule.select(self.logits, self.top_k, self.bias, self.expert_scale)
        dense = torch.zeros(self.logits.shape).scatter(1, found.selected_experts, found.routing_weights.float())
        if type(self.gate).__name__ == "ZayaRouter":
            dense[:, E] = 0
        return dense


@cache
def gate_classes() -> dict[str, tuple[str, type[nn.Module]]]:
    """The router classes of transformers by name: the folder, and the class."""
    found = {}
    for path in sorted(Path(transformers.models.__path__[0]).glob("*/modeling_*.py")):
        for name in NAMED.findall(path.read_text(encoding="utf-8")):
            module = importlib.import_module(f"transformers.models.{path.parent.name}.{path.stem}")
            found[name] = (path.parent.name, getattr(module, name))
    return found


def compared() -> list[str]:
    """The names of the classes that a rule describes."""
    return [name for name in gate_classes() if name not in EXCEPTIONS]


def make_gate(name: str, setting: str, dtype: torch.dtype = torch.float32) -> Gate:
    """A gate by the name of its class."""
    return Gate(*gate_classes()[name], setting, dtype)


def _make(folder: str, gate_class: type[nn.Module], setting: str) -> nn.Module:
    config = SimpleNamespace(**SIZES, **SETTINGS[setting], scoring_func=SCORING.get(folder, "sigmoid"))
    given = {"config": config, "layer_idx": 0, "input_size": D, "num_experts": E, "top_k": K}
    wanted = list(inspect.signature(gate_class.__init__).parameters)[1:]
    return gate_class(**{name: given[name] for name in wanted})


def _read(gate: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute, reading in READINGS.items():
        if hasattr(gate, attribute):
            found |= reading(getattr(gate, attribute))
    return found


def _bias_of(gate: nn.Module) -> tuple[Tensor | None, dict[str, Tensor]]:
    """The bias of the ranking, and what the forward is to be given of it."""
    for name in inspect.signature(gate.forward).parameters:
        if name.endswith("bias"):
            bias = torch.randn(E) * 0.3
            return bias, {name: bias}
    tensors = dict([*gate.named_parameters(), *gate.named_buffers()])
    own = [value for name, value in tensors.items() if name.endswith(("correction_bias", "balancing_biases"))]
    return (own[0].detach().reshape(-1), {}) if own else (None, {})


def _scattered(made: Gate, output: Any) -> Tensor:
    dense = torch.zeros(made.logits.shape)
    return dense.scatter_add(1, output[2].reshape(T, -1), output[1].reshape(T, -1).float())


def _of_jetmoe(made: Gate, output: Any) -> Tensor:
    _, token, weights, counts, _ = output
    expert = torch.arange(E).repeat_interleave(torch.tensor(counts))
    return torch.zeros(made.logits.shape).index_put((token, expert), weights.float())


def _of_dbrx(made: Gate, output: Any) -> Tensor:
    """Its block selects: of a router that gives logits alone."""
    block = importlib.import_module("transformers.models.dbrx.modeling_dbrx").DbrxFFN
    own = SimpleNamespace(top_k=K, moe_normalize_expert_weights=1.0)
    return _scattered(made, (None, *block.route_tokens_to_experts(own, output)))


_FLAT = {
    *("AriaTextTopKRouter", "Cohere2MoeTopKRouter", "DiffusionGemmaTextRouter", "Ernie4_5_MoeTopKRouter"),
    *("Ernie4_5_VLMoeMoeTopKRouter", "Gemma4TextRouter", "GptOssTopKRouter", "GraniteMoeHybridTopKRouter"),
    *("GraniteMoeSWATopKRouter", "GraniteMoeSharedTopKRouter", "GraniteMoeTopKRouter", "JambaTopKRouter"),
    *("JetMoeTopKGating", "Lfm2MoeTopKRouter", "Llama4Router", "NllbMoeTop2Router", "OpenAIPrivacyFilterTopKRouter"),
}
"""Those whose block gives them rows (T, D)."""
_LOGITS: dict[str, Callable[[nn.Module, Tensor, Any], Tensor]] = {
    "DbrxRouter": lambda gate, tokens, output: output,
    "DiffusionGemmaTextRouter": lambda gate, tokens, output: output[0].log(),
    "Gemma4TextRouter": lambda gate, tokens, output: output[0].log(),
    "JetMoeTopKGating": lambda gate, tokens, output: output[4],
    "LagunaTopKRouter": lambda gate, tokens, output: F.linear(tokens[0], gate.weight),
    "Llama4Router": lambda gate, tokens, output: output[1],
    "NllbMoeTop2Router": lambda gate, tokens, output: output[2],
    "SwitchTransformersTop1Router": lambda gate, tokens, output: output[2][0],
}
"""Where the logits are not the first that the gate gives, or not before its soft cap."""
_WEIGHTS: dict[str, Callable[[Gate, Any], Tensor]] = {
    "DbrxRouter": _of_dbrx,
    "JetMoeTopKGating": _of_jetmoe,
    "Llama4Router": lambda made, output: output[0],
    "NllbMoeTop2Router": lambda made, output: output[1].reshape(T, E),
    "SwitchTransformersTop1Router": lambda made, output: (output[0] * output[1])[0],
}


def table() -> str:
    """The page's table: each rule with the classes that follow it, then those that none describes."""
    classes: dict[str, list[str]] = defaultdict(list)
    for name in compared():
        remark = f" ({REMARKS[name]})" if name in REMARKS else ""
        classes[resolve_alias(gate_classes()[name][0])].append(f"{name}{remark}")
    rows = ["| rule | its fields | classes |", "|---|---|---|"]
    for rule in list_selection_rules():
        if rule in classes:
            rows.append(f"| `{rule}` | {_said(get_selection_rule(rule))} | {', '.join(classes[rule])} |")
    rows += ["", "| no rule over logits | why |", "|---|---|"]
    rows += [f"| {name} | {why} |" for name, why in EXCEPTIONS.items()]
    return "\n".join(rows)


def _said(rule: SelectionRule) -> str:
    given = [each for each in fields(rule) if each.init and getattr(rule, each.name) != each.default]
    return ", ".join(f"{each.name} {getattr(rule, each.name)}" for each in given) or "the default"


if __name__ == "__main__":
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {len(compared())} classes, {len(EXCEPTIONS)} exceptions\n")
