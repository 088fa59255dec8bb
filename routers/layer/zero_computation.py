"""Experts that cost nothing or next to nothing. Axes: N rows, D hidden size, E networks, Z others, C constants."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from routers.layer.experts import Experts
from routers.parameters import normal_parameter
from routers.routing.shapes import shapes_are_fixed


class ZeroComputationExperts(nn.Module):
    """A bank of E networks, and behind them Z experts that compute nothing: easy tokens spend less.

    The experts from E on are, in this order: zeros, which give 0; copies, which give x (LongCat-Flash's identity
    experts); constants, which give α₁ x + α₂ v with α = softmax(W_c x), v and W_c their own (MoE++, Jin et al. 2024,
    arXiv 2410.07348, section 3.1). The router and the layer have E + Z experts:
    `MoELayer(D, I, 12, "linear", experts=ZeroComputationExperts(create_experts("swiglu", 8, D, I), copies=4))`.

    The bank's parameters, and 3·D more for each constant.

    Args:
        networks: the bank, of `num_experts` E and `hidden_size` D.
        zeros: how many give 0. Zaya's extra expert is one.
        copies: how many give x.
        constants: how many give a mixture of x and a vector.

    Raises:
        ValueError: a number below 0, or none of any kind.
    """

    def __init__(self, networks: Experts, *, zeros: int = 0, copies: int = 0, constants: int = 0) -> None:
        super().__init__()
        for name, number in (("zeros", zeros), ("copies", copies), ("constants", constants)):
            if not isinstance(number, int) or number < 0:
                raise ValueError(f"{name} is {number}, expected at least 0, a whole number")
        if zeros + copies + constants == 0:
            raise ValueError("zeros, copies and constants are 0, expected at least one of any kind")
        self.networks = networks
        self.hidden_size = networks.hidden_size
        self.num_experts = networks.num_experts + zeros + copies + constants
        self.zeros, self.copies = zeros, copies
        self.constants = normal_parameter(constants, self.hidden_size) if constants else None
        self.share_weight = normal_parameter(constants, 2, self.hidden_size) if constants else None

    def forward(self, expert_inputs: Tensor, expert_index: Tensor) -> Tensor:
        """Each row through its expert, (N, D) and (N,) non-decreasing -> (N, D)."""
        num_networks = self.networks.num_experts
        others = (expert_index - num_networks).clamp_min(0)
        if shapes_are_fixed(expert_inputs):  # every row takes both ways
            through = self.networks(expert_inputs, expert_index.clamp_max(num_networks - 1))
            beside = self._beside(expert_inputs, others)
            return torch.where((expert_index < num_networks).unsqueeze(1), through, beside.to(through.dtype))
        number = int((expert_index < num_networks).sum())
        through = self.networks(expert_inputs[:number], expert_index[:number])
        return torch.cat([through, self._beside(expert_inputs[number:], others[number:]).to(through.dtype)])

    def _beside(self, x: Tensor, other: Tensor) -> Tensor:
        """What is no network, (N, D) and its number from 0 on (N,) -> (N, D)."""
        factor = (other >= self.zeros).to(x.dtype).unsqueeze(1)
        if self.constants is None or self.share_weight is None:
            return factor * x
        constant = (other - self.zeros - self.copies).unsqueeze(1)
        place = constant.squeeze(1).clamp_min(0)
        shares = torch.softmax(torch.einsum("nkd,nd->nk", self.share_weight[place], x), dim=1)
        mixed = shares[:, :1] * x + shares[:, 1:] * self.constants[place]
        return torch.where(constant >= 0, mixed, factor * x)
