"""Checks of a model's config.json: it may not ask for code that is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.assets.errors import AssetError

LOCAL_ONLY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Options with which transformers reads a directory and nothing else."""
IMPLEMENTATIONS = ("batched_mm", "eager", "grouped_mm", "sdpa")
_KEYS = ("attn_implementation", "experts_implementation")  # transformers reads them with `_` before them too


def check_implementations(path: Path, config: object) -> None:
    """Refuse a configuration that asks for implementations of attention or experts other than torch's.

    transformers takes "owner/name" for a kernel of the hub, downloads it and runs its code, and so it does with some
    other names where a package is not installed.

    Args:
        path: of the configuration, for the message.
        config: what stands in it.

    Raises:
        AssetError: it asks for another.
    """
    for key, value in _entries(config):
        if key.endswith(_KEYS) and value is not None and value not in IMPLEMENTATIONS:
            raise AssetError(f"{path}: its {key} is {value!r}, expected one of {', '.join(IMPLEMENTATIONS)}")


def _entries(config: object) -> Iterator[tuple[str, Any]]:
    """Key and value of all objects in it."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
