"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


@contextmanager
def alone_in(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a folder against others that write into it through this function. Nothing is left there.

    Where a system or a file system has no locks of folders, nobody is held off.

    Args:
        folder: made where it is missing.
        wait: until the other has finished.

    Raises:
        BlockingIOError: another holds it, and `wait` is False.
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # some network file systems
            pass
        yield
    finally:
        with suppress(OSError):  # closed alone, a process that was forked meanwhile would hold it on
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
