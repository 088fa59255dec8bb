"""What every token goes through beside its experts. Axes: T tokens, D hidden size, I intermediate size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from routers.layer.experts import create_experts
from routers.parameters import normal_linear


class SharedExperts(nn.Module):
    """One network for all tokens, whose output is added to that of the chosen experts (DeepSeekMoE, arXiv 2401.06066).

    Several shared experts of size I are one of a multiple of I, which is how DeepSeek-V2 and V3 write them. With a gate
    each token has its share σ(w·x) of it (Qwen1.5-MoE, Qwen2-MoE, Qwen3-Next).

    The network's parameters, and D more with a gate.

    Args:
        hidden_size: D.
        intermediate_size: I, of all shared experts together.
        kind: the network's form, as `create_experts` names it.
        gate: multiply by a sigmoid of the token.

    Raises:
        ValueError: an unknown form, or a size below 1.
    """

    def __init__(self, hidden_size: int, intermediate_size: int, *, kind: str = "swiglu", gate: bool = False) -> None:
        super().__init__()
        if intermediate_size < 1:
            raise ValueError(f"shared_intermediate_size is {intermediate_size}, expected at least 1")
        self.experts = create_experts(kind, 1, hidden_size, intermediate_size)
        self.gate = normal_linear(hidden_size, 1, bias=False) if gate else None

    def forward(self, tokens: Tensor) -> Tensor:
        """(T, D) -> (T, D)."""
        index = torch.zeros(tokens.shape[0], dtype=torch.int64, device=tokens.device)
        output: Tensor = self.experts(tokens, index)
        return output if self.gate is None else torch.sigmoid(self.gate(tokens)) * output
