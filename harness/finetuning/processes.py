"""The processes that train together, where `accelerate launch` or torchrun has started several."""

from __future__ import annotations

import os

from torch import distributed

from routers.balancing.processes import all_reduce_sum, have_met, process_count

__all__ = ["all_reduce_sum", "is_main_process", "launched_processes", "process_count", "wait_for_everyone"]


def launched_processes() -> int:
    """The number of processes that were started, also before they have met."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this process is the one that writes files and prints for all."""
    return distributed.get_rank() == 0 if have_met() else os.environ.get("RANK", "0") == "0"


def wait_for_everyone() -> None:
    """Return when all processes have come here."""
    if process_count() > 1:
        distributed.barrier()
