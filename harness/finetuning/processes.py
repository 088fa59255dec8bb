"""The processes that train together, where `accelerate launch` or torchrun has started several."""

from __future__ import annotations

import os

from torch import Tensor, distributed


def process_count() -> int:
    """The number of processes that train together, once they have met; 1 before."""
    return distributed.get_world_size() if _met() else 1


def launched_processes() -> int:
    """The number of processes that were started, also before they have met."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this process is the one that writes files and prints for all."""
    return distributed.get_rank() == 0 if _met() else os.environ.get("RANK", "0") == "0"


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum over all processes, the same in each; no gradient."""
    values = values.detach().clone()
    if process_count() > 1:
        distributed.all_reduce(values)
    return values


def wait_for_everyone() -> None:
    """Return when all processes have come here."""
    if process_count() > 1:
        distributed.barrier()


def _met() -> bool:
    return distributed.is_available() and distributed.is_initialized()
