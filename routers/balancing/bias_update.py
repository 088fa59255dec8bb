"""The bias that is added to the scores for the selection alone, moved by the sign of the load's error.

Axes: E experts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from routers.balancing.balancer import Balancer
from routers.balancing.registry import register_balancer
from routers.balancing.tally import Tally

RATE = 1e-3
"""u of Wang et al. 2024 and of DeepSeek-V3, Megatron's default too."""


def updated_bias(bias: Tensor, tokens_per_expert: Tensor, rate: float = RATE) -> Tensor:
    """b + u · sign(mean load − load), (E,): who has too few tokens is raised. At balance: b itself.

    Wang et al. 2024 (arXiv 2408.15664), algorithm 1, and Megatron's `get_updated_expert_bias`.

    Args:
        bias: (E,).
        tokens_per_expert: (E,) counts of the global batch.
        rate: u.

    Raises:
        ValueError: bias and counts are of different experts.
    """
    if bias.shape != tokens_per_expert.shape:
        raise ValueError(
            f"tokens_per_expert has shape {tuple(tokens_per_expert.shape)}, expected the bias's {tuple(bias.shape)}"
        )
    # E · mean − E · load instead of mean − load: whole numbers, so that an exact balance is one.
    error = tokens_per_expert.sum() - len(tokens_per_expert) * tokens_per_expert
    return bias + rate * error.sign().to(bias.dtype)


class BiasBalancer(Balancer):
    """A balancer without a loss that writes `selection_bias` of its routers.

    The bias is a part of `state`. A router that stands under several names counts for all of them, and is written once.

    Raises:
        ValueError: a router has no `selection_bias` (E,).
    """

    rule_fields = MappingProxyType({"ranked_by": "scores_plus_bias"})

    def __init__(self, routers: Mapping[str, nn.Module], **shared: Any) -> None:
        super().__init__(routers, **shared)
        first: dict[int, str] = {}
        for name, router in self.routers.items():
            _bias(name, router)
            first.setdefault(id(router), name)
        self._first_name = {name: first[id(router)] for name, router in self.routers.items()}

    def router_loss(self, counted: Tally) -> Tensor:
        """Zero, (); the batch is noted for `update`."""
        with torch.no_grad():
            self.note(self._first_name[counted.name], counted)
        return torch.zeros((), device=counted.tokens_per_expert.device)

    def note(self, name: str, counted: Tally) -> None:
        """Keep of a batch what `update` needs, under the router's first name."""
        raise NotImplementedError

    def state(self) -> dict[str, Tensor]:
        """The biases, by router."""
        return {f"{name}.selection_bias": self.bias(name) for name in dict.fromkeys(self._first_name.values())}

    def bias(self, name: str) -> Tensor:
        """A router's bias as it is now: a router that is moved to another device gets another tensor."""
        return _bias(name, self.routers[name])


def _bias(name: str, router: nn.Module) -> Tensor:
    bias = getattr(router, "selection_bias", None)
    if not isinstance(bias, Tensor):
        raise ValueError(
            f"router {name!r} ({type(router).__name__}) has no selection_bias to balance by; select by a rule with a "
            "bias, such as deepseek_v3"
        )
    return bias


@register_balancer("bias")
class SignBiasBalancer(BiasBalancer):
    """b += u · sign(mean load − load) once a step, with the counts of all its batches and processes; no loss.

    Args:
        routers: with a `selection_bias`.
        rate: u.
        **shared: see `Balancer`.

    Raises:
        ValueError: a router without a bias, or a rate that is not above 0 and finite.
    """

    def __init__(self, routers: Mapping[str, nn.Module], *, rate: float = RATE, **shared: Any) -> None:
        super().__init__(routers, **shared)
        if not 0 < rate < math.inf:
            raise ValueError(f"rate is {rate}, expected above 0 and finite")
        self.rate = rate
        self._counts: dict[str, Tensor] = {}

    def note(self, name: str, counted: Tally) -> None:
        """Add the batch's counts to the step's."""
        earlier, counts = self._counts.get(name), counted.tokens_per_expert
        self._counts[name] = counts if earlier is None else earlier + counts

    def change(self) -> None:
        """Move the biases; a step that noted nothing moves none."""
        for name, counts in self._counts.items():
            self.bias(name).copy_(updated_bias(self.bias(name), counts, self.rate))

    def begin(self) -> None:
        """Begin the counts anew."""
        self._counts = {}
