"""SimBal: router weights that keep the tokens' similarities. Axes: D hidden size, E experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from routers.balancing.balancer import Balancer
from routers.balancing.registry import register_balancer
from routers.balancing.tally import Tally


def simbal_loss(weight: Tensor) -> Tensor:
    """‖Rᵀ R − I_E‖₁ with R = Wᵀ, (D, E): the sum of the absolute entries of the Gram matrix's error, ().

    Omi, Sen and Farhadi 2025 (arXiv 2506.14038): with orthonormal columns the logits keep the angles between tokens, so
    that similar tokens meet the same experts and no direction of the input is shared by all of them. The norm is taken
    entry by entry. It is 0 where the E weight vectors are orthonormal (which E > D cannot be), and E where all are
    zero; the load does not enter, so that it has no value at balance, and no mask.

    Args:
        weight: (E, D), of a linear router.
    """
    if weight.dim() != 2:
        raise ValueError(f"weight has shape {tuple(weight.shape)}, expected (E, D)")
    gram = weight @ weight.T
    return (gram - torch.eye(len(weight), dtype=weight.dtype, device=weight.device)).abs().sum()


@register_balancer("simbal")
class SimBalBalancer(Balancer):
    """‖W Wᵀ − I‖₁ of linear routers, the mean over them; of no batch, so that tokens and padding do not matter.

    Raises:
        ValueError: a router has no weight (E, D).
    """

    def __init__(self, routers: Mapping[str, nn.Module], **shared: Any) -> None:
        super().__init__(routers, **shared)
        for name, router in self.routers.items():
            _weight(name, router)

    def router_loss(self, counted: Tally) -> Tensor:
        """The loss of one router, ()."""
        return simbal_loss(_weight(counted.name, self.routers[counted.name]))


def _weight(name: str, router: nn.Module) -> Tensor:
    weight = getattr(router, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2:
        raise ValueError(
            f"router {name!r} ({type(router).__name__}) has no weight (E, D), which SimBal makes orthonormal; use a "
            "linear router"
        )
    return weight
