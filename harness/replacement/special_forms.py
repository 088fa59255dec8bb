"""The forms of gates that answer their blocks in a way of their own, or have more in them than scorer and rule.

Axes: B batch, S sequence, T = B·S tokens, D hidden size, E experts, K experts per token, Z shared experts.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.replacement.gate_forms import Decision, GateForm


class ProbabilitiesFirst(GateForm):
    """Normalised, scaled input; probabilities in the place of logits (gemma4, diffusion_gemma)."""

    answer = "probabilities, weights, experts; its input is normalised and scaled"

    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        gate: Any = original
        self.norm = copy.deepcopy(gate.norm)
        self.scale = nn.Parameter(gate.scale.detach().clone(), requires_grad=gate.scale.requires_grad)
        self.factor = float(gate.scalar_root_size)

    def prepare(self, hidden_states: Tensor) -> Tensor:
        """RMSNorm(x) · scale · D^-½."""
        normed: Tensor = self.norm(hidden_states) * self.scale * self.factor
        return normed

    def give(self, decision: Decision, hidden_states: Tensor) -> Any:
        """Probabilities, weights, experts."""
        logits, weights, experts = decision
        return torch.softmax(logits, dim=-1, dtype=torch.float32), weights, experts

    @classmethod
    def read(cls, gate: nn.Module, output: Any) -> Decision:
        """log p for logits: softmax(log p) = p."""
        probs, weights, experts = output
        return probs.clamp_min(torch.finfo(probs.dtype).tiny).log(), weights, experts


class DenseWeights(GateForm):
    """Weights of all experts (T, E), 0 where an expert is not selected, and logits (llama4)."""

    answer = "weights of all experts, logits"
    recorded = 1

    def give(self, decision: Decision, hidden_states: Tensor) -> Any:
        """Weights (T, E) and logits."""
        logits, weights, experts = decision
        dense = torch.zeros(logits.shape, dtype=weights.dtype, device=weights.device).scatter(1, experts, weights)
        return dense, logits

    @classmethod
    def read(cls, gate: nn.Module, output: Any) -> Decision:
        """The K largest weights are those of the selected."""
        dense, logits = output
        weights, experts = dense.topk(_top_k(gate), dim=-1)
        return logits, weights, experts


class LogitsAlone(GateForm):
    """Logits alone, of which the block makes softmax, K and weights itself (dbrx).

    It is given log w, −∞ outside the selected: whose softmax is w where a token's weights sum to 1. Of what is missing
    to 1 every expert that is not selected gets a share, less than a selected one's.
    """

    answer = "logits, of which the block makes weights"

    def give(self, decision: Decision, hidden_states: Tensor) -> Tensor:
        """log w, (T, E)."""
        logits, weights, experts = decision
        weights = weights.float()
        rest = (1 - weights.sum(dim=-1, keepdim=True)).clamp_min(0) / max(1, logits.shape[-1] - experts.shape[-1])
        rest = torch.minimum(rest, 0.999 * weights.amin(dim=-1, keepdim=True))
        tiny = torch.finfo(weights.dtype).tiny
        others = rest.clamp_min(tiny).expand(logits.shape)
        return others.scatter(1, experts, weights.clamp_min(2 * tiny)).log().to(hidden_states.dtype)

    @classmethod
    def read(cls, gate: nn.Module, output: Any) -> Decision:
        """The softmax, and the K largest."""
        weights, experts = torch.softmax(output, dim=-1).topk(_top_k(gate), dim=-1)
        return output, weights, experts


class SortedRows(GateForm):
    """Rows sorted by expert: order, token of each row, weight of each, rows per expert, logits (jetmoe)."""

    answer = "rows sorted by expert"
    recorded = 4

    def give(self, decision: Decision, hidden_states: Tensor) -> Any:
        """The five parts."""
        logits, weights, experts = decision
        order = experts.flatten().sort(stable=True).indices
        rows = torch.zeros(logits.shape[-1], dtype=torch.int64, device=experts.device)
        rows = rows.scatter_add(0, experts.flatten(), torch.ones_like(experts.flatten()))
        return order, order // experts.shape[-1], weights.flatten()[order], rows.tolist(), logits

    @classmethod
    def read(cls, gate: nn.Module, output: Any) -> Decision:
        """Rows back in the order of the tokens."""
        order, _, weights, rows, logits = output
        back = order.argsort()
        by_row = torch.repeat_interleave(torch.tensor(rows, device=order.device))
        return logits, weights[back].view(len(logits), -1), by_row[back].view(len(logits), -1)


class OneHot(GateForm):
    """One expert as a one-hot vector, empty where the expert is full; its weight; logits, each (B, S, …) (switch)."""

    answer = "a one-hot expert up to a capacity, its weight, logits"
    recorded = 2

    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        self.capacity = int(getattr(original, "expert_capacity"))  # noqa: B009  # a module's attribute to mypy

    def check(self, name: str, top_k: int) -> None:
        """One expert per token is all that the block can take."""
        if top_k != 1:
            raise ValueError(f"{name}: top_k is {top_k}, expected 1: its block hands a token to one expert")

    def give(self, decision: Decision, hidden_states: Tensor) -> Any:
        """The first tokens of a sequence fill an expert; those beyond its capacity keep their residual alone."""
        logits, weights, experts = decision
        place = hidden_states.shape[:-1]
        chosen = F.one_hot(experts[:, 0], logits.shape[-1]).view(*place, -1)
        chosen = chosen * (chosen.cumsum(dim=-2) <= self.capacity)
        return chosen, weights.view(*place, 1), logits.view(*place, -1)

    @classmethod
    def read(cls, gate: nn.Module, output: Any) -> Decision:
        """What was selected before an expert was full."""
        _, weights, logits = output
        logits = logits.flatten(0, -2)
        return logits, weights.reshape(-1, 1), logits.argmax(dim=-1, keepdim=True)


class JointlyWeighed(GateForm):
    """Shared experts scored by the gate too, weighed together with the selected ones: w / (Σ w + Σ σ) (inkling)."""

    answer = "logits, weights, experts, weights of shared experts"

    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        gate: Any = original
        self.scale = float(gate.route_scale)
        self.shared_weight = nn.Parameter(gate.weight.detach()[gate.num_experts :].clone())
        self.global_scale = nn.Parameter(gate.global_scale.detach().clone())

    @staticmethod
    def linear_map(gate: Any) -> tuple[Any, Any]:
        """The rows of the experts that are selected from."""
        return gate.weight[: gate.num_experts], None

    def give(self, decision: Decision, hidden_states: Tensor) -> Any:
        """Logits, weights, experts, and the shared experts' weights (T, Z)."""
        logits, weights, experts = decision
        tokens = hidden_states.flatten(0, -2).float()
        shared = F.linear(tokens, self.shared_weight.float()).sigmoid()
        both = torch.cat([weights.float(), shared], dim=-1)
        both = both / both.sum(dim=-1, keepdim=True) * self.scale * self.global_scale.float()
        weights, shared = torch.split(both.to(hidden_states.dtype), [experts.shape[-1], shared.shape[-1]], dim=-1)
        return logits, weights.contiguous(), experts, shared.contiguous()


class MultipliedLogits(GateForm):
    """Logits times a constant (muse_spark)."""

    answer = "logits times a constant, weights, experts"

    @staticmethod
    def linear_map(gate: Any) -> tuple[Any, Any]:
        """The weight with the constant in it."""
        return gate.weight.float() * gate.output_multiplier, None


class RecordedByBlock(GateForm):
    """Answers as nearly all do, and its logits are recorded as an output of the block around (ernie4_5_vl_moe)."""

    recorded = None


class NearRivals(GateForm):
    """Each weight from a softmax over the experts that are nearly as good, without those selected before (phimoe).

    SparseMixer (arXiv 2409.12136) as it evaluates. While it trains it draws its experts and has a gradient of its own;
    a gate of ours selects as ever then. Under another rule the weights are that rule's.
    """

    answer = "logits, weights among near rivals, experts"

    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        self.margin = 2 * float(getattr(original, "router_jitter_noise"))  # noqa: B009  # a module's attribute to mypy

    def give(self, decision: Decision, hidden_states: Tensor) -> Any:
        """Logits, weights, experts."""
        logits, weights, experts = decision
        if not self.own_rule:
            return decision
        left, found = logits, []
        for expert in experts.split(1, dim=-1):  # type: ignore[no-untyped-call]  # torch leaves it untyped
            best = left.gather(1, expert)
            far = (best - logits) / torch.maximum(logits.abs(), best) > self.margin
            found.append(torch.softmax(left.masked_fill(far, -torch.inf), dim=-1).gather(1, expert))
            left = left.scatter(1, expert, -torch.inf)
        return logits, torch.cat(found, dim=-1).to(weights.dtype), experts


class UnusedBias(GateForm):
    """A linear map that may have a bias, of which the gate takes the weight alone (longcat_flash)."""

    @staticmethod
    def linear_map(gate: Any) -> tuple[Any, Any]:
        """The weight."""
        return gate.classifier.weight, None


class WithNoExpert(GateForm):
    """One more class than experts, which is no expert; and the state that the next layer's gate goes on from (zaya)."""

    answer = "logits with a class for no expert, weights, experts, a state"
    original_is_linear = False

    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        self.num_experts = int(getattr(original, "num_experts"))  # noqa: B009  # a module's attribute to mypy

    def give(self, decision: Decision, hidden_states: Tensor) -> Any:
        """Weight 0 for the class that is no expert; no state: a gate of ours has none."""
        logits, weights, experts = decision
        none = experts == self.num_experts
        return logits, weights.masked_fill(none, 0), experts.masked_fill(none, 0), None


def _top_k(gate: Any) -> int:
    return int(gate.top_k)
