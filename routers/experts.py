"""The bank of expert feed-forward networks. Axes: E experts, N rows, D hidden size, I intermediate size."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routers.base import normal_parameter


class FeedForwardExperts(nn.Module):
    """E two-layer networks with biases, BERT's feed-forward: W_down · act(W_up x + b_up) + b_down.

    Each expert works on its own contiguous block of rows with dense products. On the CPU (T = 512, D = 768) that takes
    a tenth less time than transformers' grouped kernel; with the backward, the kernel is some 6 % ahead. An expert
    with no row does no work and gets a zero gradient.

    Args:
        num_experts: E.
        hidden_size: D.
        intermediate_size: I.
        activation: element-wise, (…) -> (…); GELU by default.
    """

    def __init__(
        self,
        num_experts: int,
        hidden_size: int,
        intermediate_size: int,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.activation = activation
        self.up_weight = normal_parameter(num_experts, intermediate_size, hidden_size)
        self.up_bias = nn.Parameter(torch.zeros(num_experts, intermediate_size))
        self.down_weight = normal_parameter(num_experts, hidden_size, intermediate_size)
        self.down_bias = nn.Parameter(torch.zeros(num_experts, hidden_size))

    def forward(self, expert_inputs: Tensor, expert_index: Tensor) -> Tensor:
        """Each row through its expert.

        Args:
            expert_inputs: (N, D).
            expert_index: (N,) int64, non-decreasing, as `Routing.dispatch` gives it.

        Returns:
            (N, D), rows in the same order.
        """
        # unbind, and not indexing: its backward stacks the experts' gradients once instead of summing E full banks.
        banks = (self.up_weight, self.up_bias, self.down_weight, self.down_bias)
        experts = list(zip(*(bank.unbind() for bank in banks), strict=True))
        if len(expert_inputs) == 1:
            return self._run(expert_inputs, *experts[int(expert_index)])
        counts = torch.bincount(expert_index, minlength=self.num_experts).tolist()
        rows = torch.split(expert_inputs, counts)
        outputs = [self._run(x, *expert) for x, expert in zip(rows, experts, strict=True) if len(x)]
        return torch.cat(outputs) if outputs else self._run(expert_inputs, *experts[0])

    def _run(self, x: Tensor, up_weight: Tensor, up_bias: Tensor, down_weight: Tensor, down_bias: Tensor) -> Tensor:
        return F.linear(self.activation(F.linear(x, up_weight, up_bias)), down_weight, down_bias)

    def extra_repr(self) -> str:
        """Sizes for `print(experts)`."""
        experts, intermediate_size, hidden_size = self.up_weight.shape
        return f"num_experts={experts}, hidden_size={hidden_size}, intermediate_size={intermediate_size}"
