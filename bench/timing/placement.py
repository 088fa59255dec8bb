"""Where things lie in a process's memory: drawn at random, because it is a part of what is measured."""

from __future__ import annotations

import random

import torch
from torch import Tensor

PADDING_BLOCKS = 64
PADDING_BYTES = 1 << 16

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads sleep, so that a busy neighbour cannot stop the others
    "PYTHONDONTWRITEBYTECODE": "1",
    # glibc gives large blocks back to the system at every release unless it is told not to. In some processes, by the
    # chance of their layout, each call then pays for thousands of page faults and takes a third longer.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),  # the largest that it takes
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
"""Of a process that times."""


def padding(generator: random.Random) -> list[Tensor]:
    """Blocks of random size, to be kept between what is timed.

    Where things lie differs from process to process; the blocks make sure of that even where a system places every
    process alike.
    """
    sizes = [generator.randrange(1, PADDING_BYTES) for _ in range(PADDING_BLOCKS)]
    return [torch.empty(size, dtype=torch.uint8) for size in sizes]
