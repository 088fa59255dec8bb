"""Checkpoints with a seal: a folder that was being written when the process was killed has none, and is not used."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.assets.fetch import file_sha256
from harness.assets.files import replace_file
from harness.finetuning.settings import FinetuneError

SEAL = "seal.json"
_FOLDER = re.compile(r"checkpoint-(\d+)")


def seal(folder: Path, identity: Mapping[str, Any]) -> None:
    """Write down whose checkpoint it is, and the SHA-256 of every file; only with that is it one.

    Args:
        folder: with all its files.
        identity: what has to be the same where it is used; JSON values.
    """
    digests = {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.name != SEAL}
    write_json(folder / SEAL, {"of": identity, "files": digests})


def newest_checkpoint(folder: Path, identity: Mapping[str, Any]) -> Path | None:
    """The checkpoint to go on from, or None; one that was never finished does not count.

    Raises:
        FinetuneError: it is another run's, or not as it was written.
    """
    sealed = [path for path in folder.glob("checkpoint-*") if (path / SEAL).is_file()]
    if not sealed:
        return None
    newest = max(sealed, key=checkpoint_step)
    _verify(newest, identity)
    return newest


def remove_unfinished(folder: Path) -> None:
    """Remove what was being written when a run was killed."""
    for path in folder.glob("checkpoint-*"):
        if not (path / SEAL).is_file():
            shutil.rmtree(path)


def checkpoint_step(path: Path) -> int:
    """The number of steps after which a checkpoint was taken, from its folder's name."""
    match = _FOLDER.fullmatch(path.name)
    return int(match[1]) if match else -1


def _verify(folder: Path, identity: Mapping[str, Any]) -> None:
    remedy = f"remove {folder} to go on from the one before"
    try:
        content = json.loads((folder / SEAL).read_text())
        owner, digests = dict(content["of"]), dict(content["files"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise FinetuneError(f"{folder / SEAL}: not a checkpoint's seal; {remedy}") from None
    if differing := sorted(name for name in dict(identity) | owner if identity.get(name) != owner.get(name)):
        raise FinetuneError(f"{folder}: another run's checkpoint (different: {', '.join(differing)})")
    there = {path.name for path in folder.iterdir()} - {SEAL}
    if digests.keys() != there:
        wrong = ", ".join(sorted(digests.keys() ^ there))
        raise FinetuneError(f"{folder}: files missing or added since it was sealed: {wrong}; {remedy}")
    for name, digest in sorted(digests.items()):
        if file_sha256(folder / name) != digest:
            raise FinetuneError(f"{folder / name}: corrupt, its SHA-256 is not the sealed one; {remedy}")


def checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, value: object) -> None:
    """Write a file whole or not at all.

    Raises:
        FinetuneError: it cannot be written.
    """
    data = json.dumps(value, indent=1, allow_nan=False).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
    except OSError as error:
        raise FinetuneError(f"{path}: cannot be written: {error.strerror}") from None
