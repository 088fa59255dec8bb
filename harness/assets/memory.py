"""Whether a model's weights fit into memory, known from the headers of its files before any weight is read."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own
import torch

from harness.assets.errors import AssetError

_FLOATS = {"F64", "F32", "F16", "BF16"}
_INTEGERS = {"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2}  # all others have one byte
# Control groups, as containers have them, may allow less than the machine has.
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a safetensors file's header describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def stored_tensors(directory: Path) -> list[StoredTensor]:
    """The tensors that the headers of the directory's safetensors files list.

    Raises:
        AssetError: a file is no safetensors file or not as long as its header says.
    """
    return [tensor for path in sorted(directory.glob("*.safetensors")) for tensor in _listed(path)]


def _listed(path: Path) -> list[StoredTensor]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size:
                raise ValueError(f"it would be {length} bytes long, the file has {size}")
            header: dict[str, Any] = json.loads(file.read(length))
        header.pop("__metadata__", None)
        tensors = [_tensor(name, entry) for name, entry in header.items()]
        expected = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (OSError, struct.error, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise AssetError(f"{path}: expected a safetensors file, its header cannot be read ({error})") from error
    if expected != size:
        raise AssetError(f"{path}: truncated or corrupt, it has {size} bytes where its header says {expected}")
    return tensors


def _tensor(name: str, entry: Mapping[str, Any]) -> StoredTensor:
    for field in ("dtype", "shape", "data_offsets"):
        if field not in entry:
            raise ValueError(f"{name}: it has no {field}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str):
        raise ValueError(f"{name}: its dtype is {dtype!r}")
    if not _are_sizes(shape):
        raise ValueError(f"{name}: its shape is {shape!r}")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{name}: its data_offsets are {offsets!r}")
    return StoredTensor(name, dtype, tuple(shape))


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(size, int) and size >= 0 for size in value)


def required_memory(tensors: Iterable[StoredTensor], dtype: torch.dtype) -> int:
    """Bytes that the tensors take once floating-point ones are cast to the dtype; integers stay what they are."""
    return sum(
        math.prod(tensor.shape) * (dtype.itemsize if tensor.dtype in _FLOATS else _INTEGERS.get(tensor.dtype, 1))
        for tensor in tensors
    )


def available_memory() -> int:
    """Bytes that can be had without swapping, within the limit of the container, if there is one."""
    available = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text()) - _file_cache()
    except (OSError, ValueError):  # no such control group, or the limit is "max"
        return available
    return min(available, max(0, limit - max(0, used)))


def _file_cache() -> int:
    """Bytes of the control group that hold what files contain: given up for others, as `available` counts them."""
    try:
        fields = dict(line.split(maxsplit=1) for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return sum(int(fields.get(name, 0)) for name in ("inactive_file", "active_file"))
    except (OSError, ValueError):
        return 0


def check_memory(name: str, tensors: Iterable[StoredTensor], dtype: torch.dtype) -> None:
    """Refuse a model that cannot fit.

    Raises:
        AssetError: with both figures.
    """
    required, available = required_memory(tensors, dtype), available_memory()
    if required > available:
        raise AssetError(
            f"{name}: its weights need {required / 1e9:.1f} GB of memory in {str(dtype).removeprefix('torch.')}, "
            f"{available / 1e9:.1f} GB are available"
        )
