"""Checkpoints that are whole: one that was being written when the process was killed is not taken for one."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from harness.fetch import file_sha256
from harness.finetuning.settings import FinetuneError

SEAL = "seal.json"
_FOLDER = re.compile(r"checkpoint-(\d+)")


def seal(folder: Path) -> None:
    """Write down the SHA-256 of every file of a finished checkpoint; only with that is it one."""
    digests = {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.name != SEAL}
    write_json(folder / SEAL, digests)


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint to go on from, or None. Unfinished ones are removed.

    Raises:
        FinetuneError: the newest sealed one is not as it was written.
    """
    newest = None
    for path in sorted(folder.glob("checkpoint-*"), key=checkpoint_step):
        if (path / SEAL).is_file():
            newest = path
        else:
            shutil.rmtree(path)
    if newest is not None:
        _verify(newest)
    return newest


def checkpoint_step(path: Path) -> int:
    """After how many steps a checkpoint was taken: its folder's name says it."""
    match = _FOLDER.fullmatch(path.name)
    return int(match[1]) if match else -1


def _verify(folder: Path) -> None:
    remedy = f"remove {folder} to go on from the one before"
    try:
        digests = json.loads((folder / SEAL).read_text())
        names = set(digests)
    except (ValueError, TypeError):
        raise FinetuneError(f"{folder / SEAL}: not a checkpoint's seal; {remedy}") from None
    there = {path.name for path in folder.iterdir()} - {SEAL}
    if names != there:
        wrong = ", ".join(sorted(names ^ there))
        raise FinetuneError(f"{folder}: files missing or added since it was sealed: {wrong}; {remedy}")
    for name in sorted(names):
        if file_sha256(folder / name) != digests[name]:
            raise FinetuneError(f"{folder / name}: corrupt, its SHA-256 is not the sealed one; {remedy}")


def write_json(path: Path, value: object) -> None:
    """Write a file whole or not at all.

    Raises:
        FinetuneError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise FinetuneError(f"{path}: cannot be written: {error.strerror}") from None
