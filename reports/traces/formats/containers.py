"""Files of arrays that run no code and take no memory before they are used: safetensors, npz, npy.

What a header claims is compared with the length of the file before anything of that size is made.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.trace import Array

LONGEST_HEADER = 100_000_000
"""Bytes of a safetensors header, as the format's own library allows."""
_DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "BF16": np.uint16,  # NumPy has no bfloat16: `BrainFloats` makes float32 of it
}


class BrainFloats:
    """bfloat16 values that are made float32 where some of them are asked for: the upper half of a float32 is one."""

    dtype = np.dtype(np.float32)

    def __init__(self, raw: Array) -> None:
        self._raw = raw

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the values."""
        return self._raw.shape

    @property
    def ndim(self) -> int:
        """Of the values."""
        return self._raw.ndim

    def reshape(self, *shape: int) -> BrainFloats:
        """The same values in another shape."""
        return BrainFloats(self._raw.reshape(*shape))

    def __getitem__(self, place: Any) -> Array:
        found = np.asarray(self._raw[place]).astype(np.uint32)
        return (found << 16).view(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        values = self[...]
        return values if dtype is None else values.astype(dtype)


class Arrays:
    """The arrays of a file by name, each opened when it is asked for.

    Args:
        path: of the file.
        openers: name -> what opens the array.
        metadata: words beside them.
    """

    def __init__(self, path: Path, openers: Mapping[str, Callable[[], Any]], metadata: Mapping[str, str]) -> None:
        self.path = path
        self._openers = dict(openers)
        self.metadata = dict(metadata)

    @property
    def names(self) -> list[str]:
        """Of all arrays."""
        return list(self._openers)

    def __contains__(self, name: object) -> bool:
        return name in self._openers

    def __getitem__(self, name: str) -> Any:
        return self._openers[name]()

    def get(self, name: str) -> Any:
        """An array, or None where there is none of that name."""
        opener = self._openers.get(name)
        return None if opener is None else opener()


def open_arrays(path: Path) -> Arrays | None:
    """The arrays of a safetensors, npz or npy file; None of another suffix.

    Raises:
        TraceError: it is cut off, claims what is not there, or holds objects, which would run code.
    """
    opener = _OPENERS.get(path.suffix.lower())
    return None if opener is None else opener(path)


def _open_safetensors(path: Path) -> Arrays:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(LONGEST_HEADER, size - 8):
            raise TraceError(
                f"{path.name}: no safetensors file, or cut off: its header claims {length:,} bytes of {size:,}"
            )
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            raise TraceError(f"{path.name}: no safetensors file: its header is no JSON") from None
    if not isinstance(header, dict):
        raise TraceError(f"{path.name}: no safetensors file: its header is no object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(each, str) for each in metadata.values()):
        raise TraceError(f"{path.name}: __metadata__ is no object of strings")
    return Arrays(path, {name: _tensor(path, name, form, 8 + length, size) for name, form in header.items()}, metadata)


def _tensor(path: Path, name: str, form: Any, start: int, size: int) -> Callable[[], Any]:
    where = f"{path.name}: {name[:60]}"
    try:
        dtype, shape, (first, last) = form["dtype"], form["shape"], form["data_offsets"]
        counts = [first, last, *shape]
    except (KeyError, TypeError, ValueError):
        raise TraceError(f"{where}: no dtype, shape and two data_offsets") from None
    if dtype not in _DTYPES:
        raise TraceError(f"{where}: dtype {str(dtype)[:20]!r}, expected one of {', '.join(_DTYPES)}")
    if not all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in counts):
        raise TraceError(f"{where}: shape and data_offsets are no whole numbers from 0")
    expected = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    if last - first != expected or start + last > size:
        raise TraceError(
            f"{where}: shape {_shape(shape)} of {dtype} takes {expected:,} bytes, there are "
            f"{max(0, min(last, size - start) - first):,}: cut off, or a false header"
        )

    def read() -> Any:
        raw = _map(path, start + first, tuple(shape), np.dtype(_DTYPES[dtype]))
        return BrainFloats(raw) if dtype == "BF16" else raw

    return read


def _shape(shape: list[int]) -> str:
    return f"({', '.join(map(str, shape[:6]))})"


def _map(path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], *, order: str = "C") -> Array:
    if not math.prod(shape):
        return np.zeros(shape, dtype=dtype)  # nothing cannot be mapped
    # An order is "C" or "F", which the type says of literals alone.
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order=order)  # type: ignore[call-overload,no-any-return]


def _open_npy(path: Path) -> Arrays:
    with path.open("rb") as file:
        shape, fortran, dtype, start = npy_header(file, path.name, path.stat().st_size)
    return Arrays(path, {"": lambda: _map(path, start, shape, dtype, order="F" if fortran else "C")}, {})


def _open_npz(path: Path) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [each for each in archive.infolist() if not each.is_dir()]
            openers = {each.filename.removesuffix(".npy"): _member(path, archive, each) for each in members}
    except TraceError:
        raise
    except Exception as error:  # whatever a damaged archive makes its reader raise
        raise TraceError(f"{path.name}: no npz file, or cut off: {error}") from None
    return Arrays(path, openers, _metadata(path, openers))


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], Any]:
    where = f"{path.name}: {member.filename[:60]}"
    with archive.open(member) as file:
        shape, fortran, dtype, start = npy_header(file, where, member.file_size)
    order = "F" if fortran else "C"
    if member.compress_type == zipfile.ZIP_STORED:
        with path.open("rb") as file:
            file.seek(member.header_offset + 26)
            name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
        offset = member.header_offset + 30 + name + extra + start
        if offset + math.prod(shape) * dtype.itemsize > path.stat().st_size:
            raise TraceError(f"{where}: cut off")
        return lambda: _map(path, offset, shape, dtype, order=order)

    def read() -> Array:
        needed, memory = member.file_size, _memory()
        if needed > memory // 2:
            raise TraceError(
                f"{where}: {needed:,} bytes when decompressed, expected at most half of {memory:,} in memory"
            )
        try:
            with zipfile.ZipFile(path) as archive, archive.open(member) as file:
                return np.lib.format.read_array(io.BytesIO(file.read()), allow_pickle=False)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError) as error:
            raise TraceError(f"{where}: cannot be decompressed: {error}") from None

    return read


def npy_header(file: Any, where: str, size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether columns come first, dtype and where the values begin, of an npy file of `size` bytes.

    Raises:
        TraceError: it is none, holds objects, or claims another length than it has.
    """
    stream: BinaryIO = file
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(stream)
        start = stream.tell()
    except Exception as error:  # whatever a damaged header makes its reader raise
        raise TraceError(f"{where}: no npy array, or cut off: {str(error)[:100]}") from None
    if dtype.hasobject:
        raise TraceError(f"{where}: holds pickled objects, which are refused; expected numbers")
    expected = math.prod(shape) * dtype.itemsize
    if expected != size - start:
        raise TraceError(
            f"{where}: shape {_shape(list(shape))} of {dtype} takes {expected:,} bytes, there are {size - start:,}: "
            "cut off, or a false header"
        )
    return shape, fortran, dtype, start


def _metadata(path: Path, openers: Mapping[str, Callable[[], Any]]) -> dict[str, str]:
    """An array `metadata` of one string, a JSON object: what safetensors has a place of its own for."""
    if "metadata" not in openers:
        return {}
    try:
        found = json.loads(str(openers["metadata"]()))
    except (ValueError, RecursionError):
        raise TraceError(f"{path.name}: metadata is no JSON") from None
    if not isinstance(found, dict):
        raise TraceError(f"{path.name}: metadata is no object")
    return {str(name): value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}


def _memory() -> int:
    """Bytes of the machine's memory; a system that does not say it has 8 GiB."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30


_OPENERS: dict[str, Callable[[Path], Arrays]] = {
    ".safetensors": _open_safetensors,
    ".npz": _open_npz,
    ".npy": _open_npy,
}
