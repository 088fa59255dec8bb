"""The two files that hold routers: written whole or not at all, and read only as they were written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from harness.assets.files import pickles_in, replace_file

CONFIG = "routers.json"
WEIGHTS = ("routers.safetensors", "routers.2.safetensors")
"""New weights are written beside those that the JSON names; the JSON, replaced last, then names the new ones."""
SCHEMA = 1
_KIND = "routers"


class SavedRoutersError(ValueError):
    """Saved routers or an adapter cannot be taken; the message is one line that says of which file, and why."""

    def __init__(self, message: str) -> None:
        # What a library or a path in a file says may have several.
        super().__init__(" ".join(message.splitlines()))


def write_router_files(directory: Path, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write content and tensors; a process that is killed here leaves what was there before, or the new.

    The caller is alone in the directory (`alone_in`).

    Raises:
        ValueError: the content is not JSON.
        OSError: the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # Tensors may share memory, which the format refuses.
    copies = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in tensors.items()}
    weights = safetensors.torch.save(copies, metadata={"kind": _KIND})
    in_use = _weights_in_use(directory)
    free, other = (WEIGHTS[1], WEIGHTS[0]) if in_use == WEIGHTS[0] else WEIGHTS
    complete: dict[str, Any] = {
        "kind": _KIND,
        "schema": SCHEMA,
        **content,
        "weights": {"file": free, "sha256": hashlib.sha256(weights).hexdigest()},
        "tensors": {key: [_dtype(tensor), list(tensor.shape)] for key, tensor in copies.items()},
    }
    data = _written(complete | {"checksum": _checksum(complete)})
    replace_file(directory / free, weights)
    replace_file(directory / CONFIG, data)
    (directory / other).unlink(missing_ok=True)


@contextmanager
def as_one_line(path: Path, reason: str = "does not hold what save_routers writes") -> Iterator[None]:
    """Turn whatever a value in a file makes its reader raise into one line: a right checksum does not make it right.

    Raises:
        SavedRoutersError: with the path, the reason and the first error.
    """
    try:
        yield
    except SavedRoutersError:
        raise
    except Exception as error:  # of PEFT, `re`, torch or the reader itself
        raise SavedRoutersError(f"{path}: {reason}: {error} ({type(error).__name__})") from error


def read_router_files(directory: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the content and the tensors that `write_router_files` wrote; tensors on the CPU.

    Raises:
        SavedRoutersError: a file is missing, damaged, foreign or a pickle, or does not hold what it has to hold.
    """
    content = _read_config(directory / CONFIG)
    weights = directory / content["weights"]["file"]
    data = read_file(weights)
    with as_one_line(directory / CONFIG):
        if (digest := hashlib.sha256(data).hexdigest()) != content["weights"]["sha256"]:
            raise SavedRoutersError(f"{weights}: its SHA-256 is {digest}, {CONFIG} says {content['weights']['sha256']}")
        tensors = parse_safetensors(weights, data)
        forms = {key: [_dtype(tensor), list(tensor.shape)] for key, tensor in tensors.items()}
        if forms != (listed := content["tensors"]):
            other = sorted(key for key in forms | listed if forms.get(key) != listed.get(key))
            raise SavedRoutersError(f"{weights}: not the tensors that {CONFIG} lists (different: {', '.join(other)})")
    return content, tensors


def read_file(path: Path) -> bytes:
    """The content of a file that is no pickle.

    Raises:
        SavedRoutersError: there is none, it cannot be read, or it is a pickle.
    """
    if not path.is_file():
        raise SavedRoutersError(f"{path}: there is no such file{pickles_in(path.parent)}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SavedRoutersError(f"{path}: cannot be read: {error.strerror}") from error
    # Whatever the file's name: a zip archive or protocol 2 is what torch.save writes, now and formerly. A safetensors
    # file may begin so too, with the length of its header; what follows tells them apart.
    if data.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x80\x05")) and not _has_header(data):
        raise SavedRoutersError(f"{path}: this is a pickle, which is refused; expected safetensors and JSON")
    return data


def _has_header(data: bytes) -> bool:
    """Whether a length in 8 bytes and so much JSON stand at the beginning, as in every safetensors file."""
    header = data[8 : 8 + int.from_bytes(data[:8], "little")]
    try:
        return len(header) == int.from_bytes(data[:8], "little") and isinstance(json.loads(header), dict)
    except (ValueError, RecursionError):
        return False


def parse_safetensors(path: Path, data: bytes) -> dict[str, Tensor]:
    """The tensors of a file's content.

    Raises:
        SavedRoutersError: it is damaged, or something else.
    """
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise SavedRoutersError(f"{path}: no safetensors file ({' '.join(str(error).split())})") from error


def parse_json(path: Path, data: bytes) -> dict[str, Any]:
    """The object in a file's content.

    Raises:
        SavedRoutersError: it is damaged, or something else.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SavedRoutersError(f"{path}: damaged, no JSON ({error})") from error
    if not isinstance(content, dict):
        raise SavedRoutersError(f"{path}: holds no JSON object")
    return content


def _read_config(path: Path) -> dict[str, Any]:
    data = read_file(path)
    content = parse_json(path, data)
    if content.get("kind") != _KIND:
        raise SavedRoutersError(f"{path}: not written by save_routers, its kind is not {_KIND!r}")
    if content.get("schema") != SCHEMA:
        raise SavedRoutersError(f"{path}: its schema is {content.get('schema')!r}, expected {SCHEMA}")
    with as_one_line(path):
        # Digits may change that no number shows, so the text is compared too.
        if _written(content) != data or content.pop("checksum", None) != _checksum(content):
            raise SavedRoutersError(f"{path}: damaged or edited, its checksum is not that of its content")
        if content["weights"]["file"] not in WEIGHTS:
            raise SavedRoutersError(f"{path}: names {content['weights']['file']!r}, expected {' or '.join(WEIGHTS)}")
    return content


def _written(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode()


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _weights_in_use(directory: Path) -> str | None:
    """The weights file that the present JSON names; a damaged JSON names none that could still be read."""
    try:
        named: str = _read_config(directory / CONFIG)["weights"]["file"]
    except SavedRoutersError:
        return None
    return named


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
