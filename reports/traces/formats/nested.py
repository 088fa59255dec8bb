"""Nested lists of JSON, and strings of bytes, as arrays of experts."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.formats.containers import npy_header
from reports.traces.trace import Array


def to_integers(value: Any, where: str, axes: Sequence[str]) -> Array:
    """Nested lists of whole numbers as an array of these axes.

    Raises:
        TraceError: lists of different lengths, another depth, or what is no whole number.
    """
    try:
        found = np.array(value)
    except ValueError:
        found = np.array(None)
    if found.ndim != len(axes) or found.dtype == object:
        raise TraceError(f"{where}: no lists of one length each, expected ({', '.join(axes)})")
    if not np.issubdtype(found.dtype, np.integer):
        raise TraceError(f"{where}: holds {found.dtype}, expected whole numbers")
    return compact(found)


def compact(experts: Array) -> Array:
    """The same numbers in the smallest signed dtype."""
    if not experts.size:
        return experts
    furthest = max(int(experts.max()), -int(experts.min()))
    return experts.astype(np.min_scalar_type(-1 - furthest))


def decode_base64(text: str, where: str) -> bytes:
    """The bytes that a string stands for.

    Raises:
        TraceError: it is no base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise TraceError(f"{where}: no base64, or cut off") from None


def load_npy(data: bytes, where: str) -> Array:
    """An array in the form of an npy file.

    Raises:
        TraceError: it is none, is cut off, or holds objects.
    """
    shape, fortran, dtype, start = npy_header(io.BytesIO(data), where, len(data))
    found = np.frombuffer(data, dtype=dtype, offset=start)
    return found.reshape(shape, order="F" if fortran else "C")


def drop_unused_layers(experts: Array, unused: int) -> tuple[Array, tuple[str, ...]]:
    """Without the layers that hold one and the same placeholder throughout: a server has a place for dense layers too.

    Args:
        experts: (T, L, K).
        unused: the placeholder; 0 is one only where K is above 1, for no token can have an expert twice.

    Returns:
        The experts of the other layers, and those layers' numbers.
    """
    if unused == 0 and experts.shape[-1] == 1:
        return experts, tuple(map(str, range(experts.shape[1])))
    used = np.nonzero((experts != unused).any(axis=(0, 2)))[0]
    kept = experts if len(used) == experts.shape[1] else experts[:, used]
    return kept, tuple(map(str, used))
