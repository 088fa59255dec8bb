"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}


def pickles_in(folder: Path) -> str:
    """The end of a message about files that are missing: "; x.bin: pickle is refused", or nothing."""
    try:
        names = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    except OSError:
        return ""
    return f"; {', '.join(names)}: pickle is refused" if names else ""


def replace_file(path: Path, data: bytes) -> None:
    """Put a file in place, whole and on the disk, or leave what was there.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where a system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
