"""The sums over the processes that train together, which balancing is computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, distributed


def process_count() -> int:
    """The number of processes that train together, once they have met; 1 before."""
    return distributed.get_world_size() if have_met() else 1


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum over all processes, the same in each; no gradient."""
    values = values.detach().clone()
    if process_count() > 1:
        distributed.all_reduce(values)
    return values


@dataclass(frozen=True)
class Processes:
    """How balancing asks for the other processes: those of torch.distributed, unless a training has its own.

    Attributes:
        count: how many train together.
        total: a tensor -> its sum over all of them, without a gradient.
    """

    count: Callable[[], int] = process_count
    total: Callable[[Tensor], Tensor] = all_reduce_sum


def have_met() -> bool:
    """Whether the processes have met: torch.distributed knows of them."""
    return distributed.is_available() and distributed.is_initialized()
