"""Files beside a trace: which tokens count, and what each belongs to. Axes: T tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.formats.read import Candidate
from reports.traces.trace import Array, RoutingTrace

_TRUTH = {"1": True, "0": False, "true": True, "false": False}


def with_mask(parts: Sequence[RoutingTrace], path: Path) -> list[RoutingTrace]:
    """The parts with the mask of a file, (T,) of all parts in order: 1 where a token counts, 0 on padding.

    Raises:
        TraceError: another length, or a value that is neither 0 nor 1.
    """
    values = _values(path)
    if values.dtype != bool:
        texts = [str(each).strip().lower() for each in values.tolist()]
        wrong = next((place for place, each in enumerate(texts) if each not in _TRUTH), None)
        if wrong is not None:
            raise TraceError(f"{path.name}: token {wrong}: {texts[wrong][:40]!r}, expected 0 or 1")
        values = np.array([_TRUTH[each] for each in texts], dtype=bool)
    return [replace(part, mask=each) for part, each in _split(parts, values, path)]


def with_domains(parts: Sequence[RoutingTrace], path: Path) -> list[RoutingTrace]:
    """The parts with the labels of a file, one a token, (T,) of all parts in order.

    Raises:
        TraceError: another length.
    """
    return [replace(part, domains=each.astype(str)) for part, each in _split(parts, _values(path), path)]


def _split(parts: Sequence[RoutingTrace], values: Array, path: Path) -> list[tuple[RoutingTrace, Array]]:
    total = sum(part.num_tokens for part in parts)
    if values.shape != (total,):
        said = f"{len(values):,} values" if values.ndim == 1 else f"the shape {values.shape}"
        raise TraceError(f"{path.name}: {said}, expected one for each of {total:,} tokens")
    ends = np.cumsum([part.num_tokens for part in parts])[:-1]
    return list(zip(parts, np.split(values, ends), strict=True))


def _values(path: Path) -> Array:
    """An npy or npz array of one axis, a JSON list, or a line a token of any other file."""
    candidate = Candidate(path)
    try:
        if candidate.arrays is not None:
            names = candidate.arrays.names
            if len(names) != 1:
                raise TraceError(f"{candidate.name}: {len(names)} arrays, expected one")
            return np.asarray(candidate.arrays[names[0]])
        if candidate.suffix == ".json":
            found = candidate.document
            if not isinstance(found, list) or any(isinstance(each, list | dict) for each in found):
                raise TraceError(f"{candidate.name}: expected a list, one value a token")
            return np.array([str(each) for each in found], dtype=str)
        return np.array(path.read_text(encoding="utf-8-sig").splitlines(), dtype=str)
    except UnicodeDecodeError as error:
        raise TraceError(f"{candidate.name}: no text in UTF-8: {error.reason}") from None
    except OSError as error:
        raise TraceError(f"{candidate.name}: cannot be read: {error.strerror or error}") from None
