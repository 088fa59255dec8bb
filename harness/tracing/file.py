"""The file of a recorded routing: safetensors, as reports/traces/formats/recorded.py reads it.

Axes: T tokens, L layers, E experts, K experts per token.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

KIND = "moe-router-bench/routing-trace"
VERSION = "1"


def write_trace(tensors: Mapping[str, Tensor | None], metadata: Mapping[str, str], path: Path) -> None:
    """Write it, whole or not at all.

    Args:
        tensors: `experts` (T, L, K); where they are, `weights` (T, L, K), `logits.<layer>` (T, E), `token_ids` (T,) and
            `domains` (T,), numbers of the names in the metadata.
        metadata: `num_experts`, `top_k`, `layer_names` and `domains` as JSON, `selection`, `empty_slots`, and words.
        path: of the file.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    found = {name: each.contiguous() for name, each in tensors.items() if each is not None}
    try:
        safetensors.torch.save_file(found, part, {**metadata, "format": KIND, "version": VERSION})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
