"""Gates: ours with a selection rule, transformers' own, and Megatron-core's function.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.peers.importing import module_of
from bench.peers.work import Subject, Work, WorkSizes, gap
from bench.router.checked import BASELINE, TWIN
from bench.router.seeds import derive_seed
from bench.sizes import DType
from bench.timing.group import CannotRunError
from routers import Router, create_router, get_selection_rule
from routers.reference.rule import reference_selection

TRANSFORMERS = "@transformers"
MEGATRON = "topk_routing@megatron-core"
ST_MOE = "gate@st-moe-pytorch"
ST_MOE_REASON = "other work: it draws the second expert at random and makes (T, E, capacity) tensors of the decision"
"""Why st-moe-pytorch's gate is named and not timed."""


@dataclass(frozen=True)
class GateKind:
    """A rule and those who have it.

    Attributes:
        sizes: of the gate.
        gates: transformers' classes, by the name of the model's folder.
        megatron: keywords of Megatron-core's function.
        bias: the linear map has one.
        rule_fields: other values of the rule's fields.
        norm_topk_prob: what transformers' configuration calls weights that sum to one.
        others: further peers by name, with the reason why each cannot do this work.
    """

    sizes: WorkSizes
    gates: Mapping[str, str]
    megatron: Mapping[str, Any] = field(default_factory=dict)
    bias: bool = False
    rule_fields: Mapping[str, Any] = field(default_factory=dict)
    norm_topk_prob: bool = True
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def peers(self) -> tuple[str, ...]:
        """Their names."""
        return (*(f"{folder}{TRANSFORMERS}" for folder in self.gates), MEGATRON, *self.others)


# Megatron-core ranks a group by its K / groups_kept best experts, DeepSeek by its 2 best: these K make them the same.
KINDS = {
    "mixtral": GateKind(WorkSizes(768, 0, 8, 2), {"mixtral": "MixtralTopKRouter"}, others={ST_MOE: ST_MOE_REASON}),
    "qwen2_moe": GateKind(
        WorkSizes(768, 0, 8, 2), {"qwen2_moe": "Qwen2MoeTopKRouter"}, {"use_pre_softmax": True}, norm_topk_prob=False
    ),
    "qwen3_moe": GateKind(WorkSizes(2048, 0, 128, 8), {"qwen3_moe": "Qwen3MoeTopKRouter"}),
    "deepseek_v3": GateKind(
        WorkSizes(2048, 0, 64, 8),
        {"deepseek_v3": "DeepseekV3TopkRouter"},
        {"num_groups": 8, "group_topk": 4, "score_function": "sigmoid", "scaling_factor": 2.5},
        rule_fields={"num_groups": 8, "groups_kept": 4, "scale": 2.5},
    ),
    "gpt_oss": GateKind(WorkSizes(2880, 0, 32, 4), {"gpt_oss": "GptOssTopKRouter"}, bias=True),
}
"""By the name of the model that has the gate."""
RULES = {"mixtral": "softmax"}
"""Gate -> the name of its selection rule, where that is another."""


def rule_of(gate: str) -> str:
    """The name of a gate's selection rule."""
    return RULES.get(gate, gate)


class Gates(Work):
    """A linear map and a selection rule.

    Args:
        gate: a name of `KINDS`.
        sizes: its own, or others.
        device: of the weights.
        dtype: as in `Work`.
    """

    def __init__(self, gate: str, sizes: WorkSizes, device: str, dtype: DType) -> None:
        super().__init__(sizes, device, dtype)
        self.kind = KINDS[gate]
        self.rule = get_selection_rule(rule_of(gate), **self.kind.rule_fields)
        generator = torch.Generator().manual_seed(derive_seed("peers weights", 0))
        weight = torch.empty(sizes.num_experts, sizes.hidden_size).normal_(std=0.02, generator=generator)
        self.weight = weight.to(device, dtype.router)
        makers: dict[str, Callable[[], Subject]] = {
            BASELINE: self._ours,
            TWIN: self._ours,
            **{f"{folder}{TRANSFORMERS}": self._maker(folder, name) for folder, name in self.kind.gates.items()},
            MEGATRON: self._megatron,
        }
        self._makers = makers

    def subject(self, name: str) -> Subject:
        """Ours, transformers' class, or Megatron-core's function."""
        if name in self.kind.others:
            raise CannotRunError(self.kind.others[name])
        return self._makers[name]()

    def reference(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The weights of all experts, (T', E) in float64, zero of those that are not selected."""
        logits = tokens.double() @ self.weight.double().T
        dense, margins = [], []
        for row in logits:
            found = reference_selection(self.rule, row, self.sizes.top_k, None, None)
            weights = torch.stack(found.weights)
            dense.append(torch.zeros_like(row).scatter(0, torch.tensor(found.selected, device=row.device), weights))
            margins.append(found.margin)
        # Without groups the largest logits are selected, whatever is made of them before they are ranked.
        by_groups = torch.tensor(margins, dtype=torch.float64, device=logits.device)
        return torch.stack(dense), by_groups if self.rule.num_groups > 1 else gap(logits, self.sizes.top_k)

    def _dense(self, experts: Tensor, weights: Tensor) -> Tensor:
        dense = torch.zeros(len(experts), self.sizes.num_experts, dtype=torch.float64, device=weights.device)
        return dense.scatter(1, experts, weights.double())

    def _ours(self) -> Subject:
        router: Router = create_router(
            "linear",
            hidden_size=self.sizes.hidden_size,
            num_experts=self.sizes.num_experts,
            top_k=self.sizes.top_k,
            selection=self.rule,
            **({"bias": True} if self.kind.bias else {}),
        ).to(self.device, self.dtype.router)
        with torch.no_grad():
            router.get_parameter("weight").copy_(self.weight)

        def outputs(tokens: Tensor) -> Tensor:
            routing = router(tokens)
            return self._dense(routing.selected_experts, routing.routing_weights)

        return Subject(outputs, router, lambda tokens: router(tokens).routing_weights, list(router.parameters()))

    def _maker(self, folder: str, name: str) -> Callable[[], Subject]:
        return lambda: self._theirs(folder, name)

    def _theirs(self, folder: str, name: str) -> Subject:
        module = module_of(f"transformers.models.{folder}.modeling_{folder}")
        sizes, fields = self.sizes, self.kind.rule_fields
        config = SimpleNamespace(
            hidden_size=sizes.hidden_size,
            num_experts=sizes.num_experts,
            num_local_experts=sizes.num_experts,
            n_routed_experts=sizes.num_experts,
            num_experts_per_tok=sizes.top_k,
            norm_topk_prob=self.kind.norm_topk_prob,
            n_group=fields.get("num_groups", 1),
            topk_group=fields.get("groups_kept", 1),
            routed_scaling_factor=fields.get("scale", 1.0),
        )
        gate: nn.Module = getattr(module, name)(config)
        with torch.no_grad():
            for parameter in gate.parameters():
                parameter.zero_()
            gate.get_parameter("weight").copy_(self.weight)
        gate = gate.to(self.device, self.dtype.router)

        def outputs(tokens: Tensor) -> Tensor:
            _, weights, experts = gate(tokens)
            return self._dense(experts, weights)

        def weights_of(tokens: Tensor) -> Tensor:
            _, weights, _ = gate(tokens)
            found: Tensor = weights
            return found

        return Subject(outputs, gate, weights_of, list(gate.parameters()))

    def _megatron(self) -> Subject:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of CUDA extensions that are not there
            moe = module_of("megatron.core.transformer.moe.moe_utils")
        weight = nn.Parameter(self.weight.clone())
        zeros = torch.zeros(self.sizes.num_experts, device=self.device)
        bias = nn.Parameter(zeros.to(self.dtype.router)) if self.kind.bias else None
        options = dict(self.kind.megatron)
        if options.get("score_function") == "sigmoid":
            options["expert_bias"] = zeros

        def call(tokens: Tensor) -> tuple[Tensor, Tensor]:
            logits = F.linear(tokens, weight, bias)
            found: tuple[Tensor, Tensor] = moe.topk_routing_with_score_function(logits, self.sizes.top_k, **options)
            return found

        parameters = [weight] if bias is None else [weight, bias]
        return Subject(lambda tokens: call(tokens)[0].double(), call, lambda tokens: call(tokens)[0], parameters)
