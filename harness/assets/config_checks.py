"""Checks of a model's directory: it may not ask for code that is downloaded, nor bring an adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.assets.errors import AssetError

LOCAL_ONLY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Options with which transformers reads a directory and nothing else."""
IMPLEMENTATIONS = ("batched_mm", "eager", "grouped_mm", "sdpa")
_ADAPTER = "adapter_config.json"
_KEYS = ("attn_implementation", "experts_implementation")  # transformers reads them with `_` before them too


def read_model_config(name: str, directory: Path) -> dict[str, Any]:
    """The content of a model's config.json, checked.

    Args:
        name: of the model, for messages.
        directory: that transformers is to read.

    Raises:
        AssetError: it cannot be read, asks for code as `check_implementations` says, or an adapter lies beside it.
    """
    if (directory / _ADAPTER).exists():  # transformers would put it in, from a pickle if there is nothing else
        raise AssetError(
            f"{name}: {directory} holds an adapter ({_ADAPTER}); load_adapter of harness.saving.adapters puts one in"
        )
    path = directory / "config.json"
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise AssetError(f"{name}: {path} cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise AssetError(f"{name}: {path} cannot be read (no JSON object)")
    check_implementations(path, config)
    return config


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
