"""Puts a report on the disk whole: written aside, then renamed, the page last."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from reports.errors import ReportError


def write_files(files: Mapping[str, bytes], directory: Path) -> None:
    """Writes relative names -> contents under `directory`, in the mapping's order.

    Until every byte is on the disk nothing in `directory` changes; then each file takes its place in one rename. A
    failure or an interrupt removes what was written aside. Files of the user, or of an earlier report, that have no
    successor stay.
    """
    try:
        created = _create(directory)
        # Inside the directory, not beside it: a directory may be a mount of its own, and no rename crosses that border.
        aside = Path(tempfile.mkdtemp(prefix=".report-", dir=directory))
    except OSError as error:
        raise ReportError(f"{directory}: cannot write here: {error.strerror or error}") from None
    try:
        for name, content in files.items():
            _write_durably(aside / PurePosixPath(name), content)
        for name in files:
            target = directory / PurePosixPath(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside / PurePosixPath(name), target)
    except OSError as error:
        raise ReportError(f"{directory}: report not written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        _remove_if_empty(created)


def write_file(content: bytes, path: Path) -> None:
    """Writes one file, whole or not at all."""
    if path.is_dir():
        raise ReportError(f"{path}: is a directory")
    write_files({path.name: content}, path.parent)


def _create(directory: Path) -> list[Path]:
    """Makes the directory and returns those that it made, innermost first."""
    missing = []
    path = directory
    while not path.exists():
        missing.append(path)
        path = path.parent
    directory.mkdir(parents=True, exist_ok=True)
    return missing


def _write_durably(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        # A full disk may tell only now; after the renames it would be too late.
        os.fsync(file.fileno())


def _remove_if_empty(directories: list[Path]) -> None:
    for directory in directories:
        try:
            directory.rmdir()
        except OSError:
            return
