"""Banks of expert feed-forward networks. Axes: E experts, N rows, D hidden size, I intermediate size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routers.layer.paths import path_for
from routers.parameters import normal_parameter

Linear = Callable[[Tensor, str], Tensor]
"""(rows (N, …), the name of a linear map) -> (N, …), each row through its own expert's map of that name."""


class Experts(nn.Module, ABC):
    """E networks of the same form, each of which works on its own contiguous block of rows with dense products.

    How is chosen by what is wanted and where (`routers/layer/paths.py`): an expert after the other, which takes least
    memory; with gradients, a product after the other over the whole bank, which writes the bank's gradient once; on a
    GPU torch's grouped product; in a graph nodes of `grouped_linear`. An expert with no row does no work and gets a
    zero gradient.

    A form writes `network`. Its linear map `name` has the parameters `name_weight` (E, out, in) and, if it has biases,
    `name_bias` (E, out).

    Attributes:
        maps: the names of the linear maps.
    """

    maps: tuple[str, ...]

    def __init__(self, num_experts: int, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        for name, size in (("num_experts", num_experts), ("hidden_size", hidden_size)):
            if size < 1:
                raise ValueError(f"{name} is {size}, expected at least 1")
        if intermediate_size < 1:
            raise ValueError(f"intermediate_size is {intermediate_size}, expected at least 1")
        self.num_experts = num_experts
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size

    @abstractmethod
    def network(self, x: Tensor, linear: Linear) -> Tensor:
        """One network, or each row's own, (N, D) -> (N, D)."""

    def forward(self, expert_inputs: Tensor, expert_index: Tensor) -> Tensor:
        """Each row through its expert.

        Args:
            expert_inputs: (N, D).
            expert_index: (N,) int64, non-decreasing, as `Routing.dispatch` gives it.

        Returns:
            (N, D), rows in the same order.
        """
        return path_for(self, expert_inputs).run(self, expert_inputs, expert_index)

    def named_banks(self) -> list[tuple[str, Tensor]]:
        """The parameters of all maps by name, as the attributes are now: (E, out, in) and (E, out)."""
        names = (f"{name}_{part}" for name in self.maps for part in ("weight", "bias"))
        return [(name, bank) for name in names if (bank := getattr(self, name, None)) is not None]

    def extra_repr(self) -> str:
        """Sizes for `print(experts)`."""
        return (
            f"num_experts={self.num_experts}, hidden_size={self.hidden_size}, "
            f"intermediate_size={self.intermediate_size}"
        )


class FeedForwardExperts(Experts):
    """E two-layer networks with biases, BERT's feed-forward: W_down · act(W_up x + b_up) + b_down.

    E·(2·D·I + I + D) parameters.

    Args:
        num_experts: E.
        hidden_size: D.
        intermediate_size: I.
        activation: element-wise, (…) -> (…); GELU by default.
    """

    maps = ("up", "down")

    def __init__(
        self,
        num_experts: int,
        hidden_size: int,
        intermediate_size: int,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__(num_experts, hidden_size, intermediate_size)
        self.activation = activation
        self.up_weight = normal_parameter(num_experts, intermediate_size, hidden_size)
        self.up_bias = nn.Parameter(torch.zeros(num_experts, intermediate_size))
        self.down_weight = normal_parameter(num_experts, hidden_size, intermediate_size)
        self.down_bias = nn.Parameter(torch.zeros(num_experts, hidden_size))

    def network(self, x: Tensor, linear: Linear) -> Tensor:
        """W_down · act(W_up x + b_up) + b_down, (N, D) -> (N, D)."""
        return linear(self.activation(linear(x, "up")), "down")


class GatedExperts(Experts):
    """E gated networks without biases, SwiGLU: W_down · (silu(W_gate x) ⊙ W_up x) (Shazeer 2020, arXiv 2002.05202).

    The experts of Mixtral, Qwen and DeepSeek. E·3·D·I parameters.

    Args:
        num_experts: E.
        hidden_size: D.
        intermediate_size: I.
        activation: of the gate, element-wise, (…) -> (…); SiLU by default.
    """

    maps = ("gate", "up", "down")

    def __init__(
        self,
        num_experts: int,
        hidden_size: int,
        intermediate_size: int,
        activation: Callable[[Tensor], Tensor] = F.silu,
    ) -> None:
        super().__init__(num_experts, hidden_size, intermediate_size)
        self.activation = activation
        self.gate_weight = normal_parameter(num_experts, intermediate_size, hidden_size)
        self.up_weight = normal_parameter(num_experts, intermediate_size, hidden_size)
        self.down_weight = normal_parameter(num_experts, hidden_size, intermediate_size)

    def network(self, x: Tensor, linear: Linear) -> Tensor:
        """W_down · (act(W_gate x) ⊙ W_up x), (N, D) -> (N, D)."""
        return linear(self.activation(linear(x, "gate")) * linear(x, "up"), "down")


EXPERTS: dict[str, type[FeedForwardExperts | GatedExperts]] = {"gelu": FeedForwardExperts, "swiglu": GatedExperts}
"""Forms of experts by name; another form is another entry."""


def create_experts(kind: str, num_experts: int, hidden_size: int, intermediate_size: int) -> Experts:
    """A bank by the name of its form.

    Raises:
        ValueError: unknown name; the message lists those that exist.
    """
    if kind not in EXPERTS:
        raise ValueError(f"unknown experts {kind!r}; there are: {', '.join(sorted(EXPERTS))}")
    return EXPERTS[kind](num_experts, hidden_size, intermediate_size)
