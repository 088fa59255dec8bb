"""Gates: ours with a selection rule, transformers' own, and Megatron-core's function.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.peers.work import OURS, TWIN, CannotRunError, Sizes, Subject, Work
from routers import Router, create_router, get_selection_rule

ST_MOE = "other work: its gate draws the second expert at random and makes (T, E, capacity) tensors of the decision"
"""Why st-moe-pytorch's gate is named and not timed."""


@dataclass(frozen=True)
class GateKind:
    """A rule and those who have it.

    Attributes:
        sizes: of the gate.
        gates: transformers' classes, by the name of the model's folder.
        bias: the linear map has one.
        rule_fields: other values of the rule's fields.
        megatron: keywords of Megatron-core's function, or why it cannot.
    """

    sizes: Sizes
    gates: Mapping[str, str]
    megatron: Mapping[str, Any] | str
    bias: bool = False
    rule_fields: Mapping[str, Any] = field(default_factory=dict)


# Megatron-core ranks a group by its K / groups_kept best experts, DeepSeek by its 2 best: these K make them the same.
KINDS = {
    "mixtral": GateKind(Sizes(768, 0, 8, 2), {"mixtral": "MixtralTopKRouter", "qwen3_moe": "Qwen3MoeTopKRouter"}, {}),
    "deepseek_v3": GateKind(
        Sizes(2048, 0, 64, 8),
        {"deepseek_v3": "DeepseekV3TopkRouter"},
        {"num_groups": 8, "group_topk": 4, "score_function": "sigmoid", "scaling_factor": 2.5},
        rule_fields={"num_groups": 8, "groups_kept": 4, "scale": 2.5},
    ),
    "gpt_oss": GateKind(Sizes(2880, 0, 32, 4), {"gpt_oss": "GptOssTopKRouter"}, {}, bias=True),
}
"""By the name of the selection rule."""


class Gates(Work):
    """A linear map and a selection rule.

    Args:
        rule: a name of `KINDS`.
        device: of the weights.
        kind: another kind than that of the name.
    """

    modes = ("forward",)

    def __init__(self, rule: str, device: str = "cpu", kind: GateKind | None = None) -> None:
        self.rule, self.device = rule, device
        self.kind = KINDS[rule] if kind is None else kind
        self.name, self.sizes = f"gate {rule}", self.kind.sizes
        generator = torch.Generator().manual_seed(0)
        weight = torch.empty(self.sizes.num_experts, self.sizes.hidden_size).normal_(std=0.02, generator=generator)
        self.weight = weight.to(device)

    def subjects(self, dtype: torch.dtype) -> Iterator[tuple[str, Callable[[], Subject]]]:
        """Ours twice, transformers' classes, Megatron-core's function, and who does other work."""
        yield OURS, lambda: self._ours(dtype)
        yield TWIN, lambda: self._ours(dtype)
        for folder, name in self.kind.gates.items():
            yield f"transformers {folder}", lambda folder=folder, name=name: self._theirs(folder, name, dtype)  # type: ignore[misc]
        yield "megatron-core", lambda: self._megatron(dtype)
        yield "st-moe-pytorch", _refuse_st_moe

    def reference(self, tokens: Tensor) -> Tensor:
        """The weights of all experts, (T', E) in float64, zero of those that are not selected."""
        router = self._router(torch.float64, self.weight.to(tokens.dtype))
        routing = router(tokens.double())
        return self._dense(routing.selected_experts, routing.routing_weights)

    def _dense(self, experts: Tensor, weights: Tensor) -> Tensor:
        dense = torch.zeros(len(experts), self.sizes.num_experts, dtype=torch.float64, device=weights.device)
        return dense.scatter(1, experts, weights.double())

    def _router(self, dtype: torch.dtype, weight: Tensor) -> Router:
        options: dict[str, Any] = {"bias": True} if self.kind.bias else {}
        router = create_router(
            "linear",
            hidden_size=self.sizes.hidden_size,
            num_experts=self.sizes.num_experts,
            top_k=self.sizes.top_k,
            selection=get_selection_rule(self.rule, **self.kind.rule_fields),
            **options,
        ).to(self.device, dtype)
        with torch.no_grad():
            router.get_parameter("weight").copy_(weight)
        return router

    def _ours(self, dtype: torch.dtype) -> Subject:
        router = self._router(dtype, self.weight)

        def forward(tokens: Tensor) -> Tensor:
            routing = router(tokens)
            return self._dense(routing.selected_experts, routing.routing_weights)

        return Subject(forward, list(router.parameters()), call=router)

    def _theirs(self, folder: str, name: str, dtype: torch.dtype) -> Subject:
        module = importlib.import_module(f"transformers.models.{folder}.modeling_{folder}")
        sizes, fields = self.sizes, self.kind.rule_fields
        config = SimpleNamespace(
            hidden_size=sizes.hidden_size,
            num_experts=sizes.num_experts,
            num_local_experts=sizes.num_experts,
            n_routed_experts=sizes.num_experts,
            num_experts_per_tok=sizes.top_k,
            norm_topk_prob=True,
            n_group=fields.get("num_groups", 1),
            topk_group=fields.get("groups_kept", 1),
            routed_scaling_factor=fields.get("scale", 1.0),
        )
        gate: nn.Module = getattr(module, name)(config)
        with torch.no_grad():
            gate.get_parameter("weight").copy_(self.weight)
        gate = gate.to(self.device, dtype)

        def forward(tokens: Tensor) -> Tensor:
            _, weights, experts = gate(tokens)
            return self._dense(experts, weights)

        return Subject(forward, list(gate.parameters()), call=gate)

    def _megatron(self, dtype: torch.dtype) -> Subject:
        if isinstance(self.kind.megatron, str):
            raise CannotRunError(self.kind.megatron)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of CUDA extensions that are not there
                moe = importlib.import_module("megatron.core.transformer.moe.moe_utils")
        except Exception as error:
            raise CannotRunError(f"it cannot be imported: {type(error).__name__}: {error}") from None
        weight = nn.Parameter(self.weight.to(dtype))
        bias = (
            nn.Parameter(torch.zeros(self.sizes.num_experts, dtype=dtype, device=self.device))
            if self.kind.bias
            else None
        )
        options = dict(self.kind.megatron)
        if options.get("score_function") == "sigmoid":
            options["expert_bias"] = torch.zeros(self.sizes.num_experts, device=self.device)

        def call(tokens: Tensor) -> tuple[Tensor, Tensor]:
            logits = F.linear(tokens, weight, bias)
            found: tuple[Tensor, Tensor] = moe.topk_routing_with_score_function(logits, self.sizes.top_k, **options)
            return found

        return Subject(lambda tokens: call(tokens)[0].double(), [weight], call=call)


def _refuse_st_moe() -> Subject:
    raise CannotRunError(ST_MOE)
