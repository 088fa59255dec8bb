"""The file that `--benchmark-json` names: the run's whole result, or what was there before."""

from __future__ import annotations

import errno
import glob
import os
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own

from harness.assets.files import sync_folder


class WholeFile(os.PathLike[str]):
    """Stands for a path. Opened, it is a file beside that, which takes its place once it is whole and on the disk.

    pytest-benchmark opens what it is given and writes; a run that is killed there, or finds the disk full, would leave
    half a file where an earlier run's whole one may have been. Shown, it is the path itself.

    Args:
        path: a file, or nothing yet; its folder exists.

    Raises:
        OSError: it is a folder, or no file can be made beside it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()  # tests may change the current folder
        self._shown = str(path)
        self._part = self._path.with_name(f"{path.name}.{os.getpid()}.part")
        self._opened = False
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        for left in self._path.parent.glob(f"{glob.escape(path.name)}.*.part"):
            if not _is_running(left.suffixes[-2].removeprefix(".")):
                left.unlink(missing_ok=True)
        # Known to be possible before anything is measured.
        self._part.touch()
        self._part.unlink(missing_ok=True)

    @staticmethod
    def suits(path: Path) -> bool:
        """Devices and pipes cannot be replaced, and a link was made on purpose: those are written as they are."""
        return not path.is_symlink() and (path.is_file() or path.is_dir() or not path.exists())

    def __fspath__(self) -> str:
        self._opened = True
        return str(self._part)

    def __str__(self) -> str:
        return self._shown

    def keep(self) -> None:
        """Put what was written into its place, if anything was; it is on the disk when this returns.

        Raises:
            OSError: what was written is gone, or cannot be put there.
        """
        if self._opened:
            with self._part.open("rb") as file:
                os.fsync(file.fileno())
            self._part.replace(self._path)
            sync_folder(self._path.parent)
            self._opened = False


def _is_running(process: str) -> bool:
    """Whether a process of that number may still be writing; what is no number is nobody's."""
    return process.isdecimal() and psutil.pid_exists(int(process))
