"""A trace for others: one row a routing decision, written piece by piece.

Columns: `token`, `layer`, `rank`, `expert`; where the trace has them, `weight`, `step`, `domain`. Tokens that do not
count and slots that are empty have no row. In an npz each column is an array, and `layer` and `domain` are numbers of
the names in `layer_names` and `domain_names`.

Axes: n tokens of a piece, L layers, K experts per token, N rows.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.tokens import Piece, Tokens
from reports.traces.trace import Array

Columns = dict[str, Array]


def export(tokens: Tokens, path: Path) -> int:
    """Write the decisions, whole or not at all; returns how many.

    Raises:
        TraceError: a suffix that is not known, a library that is missing, or a place where nothing can be written.
    """
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise TraceError(f"{path.name}: decisions are exported to {' or '.join(_WRITERS)}")
    if path.is_dir():
        raise TraceError(f"{path}: is a directory")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(prefix=".decisions-", suffix=path.suffix, dir=path.parent)
        os.close(descriptor)
        try:
            number = write(tokens, Path(aside))
            os.chmod(aside, 0o644)
            os.replace(aside, path)
        finally:
            Path(aside).unlink(missing_ok=True)
    except OSError as error:
        raise TraceError(f"{path}: cannot be written: {error.strerror or error}") from None
    return number


def check_export(path: Path) -> None:
    """Raise a TraceError where such a file cannot be written here, before anything else is done."""
    if path.suffix.lower() not in _WRITERS:
        raise TraceError(f"{path.name}: decisions are exported to {' or '.join(_WRITERS)}")
    if path.suffix.lower() == ".parquet":
        _pyarrow(path)


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]  # an extra
        import pyarrow.parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise TraceError(
            f"{path.name}: Parquet is written by pyarrow, which is not installed; an .npz needs nothing"
        ) from None
    return pyarrow


def _pieces(tokens: Tokens) -> Iterator[Columns]:
    steps, domains = tokens.column("steps"), _codes(tokens)[1]
    weighed = all(part.weights is not None for part in tokens.parts)
    for piece in tokens.pieces():
        yield _rows(piece, steps, domains, weighed=weighed)


def _rows(piece: Piece, steps: Array | None, domains: Array | None, *, weighed: bool) -> Columns:
    tokens, layers, top_k = piece.experts.shape
    kept = (piece.experts >= 0).reshape(-1)
    each = layers * top_k
    columns: Columns = {
        "token": np.repeat(piece.positions.astype(np.int64), each),
        "layer": np.tile(np.repeat(np.arange(layers, dtype=np.int16), top_k), tokens),
        "rank": np.tile(np.arange(top_k, dtype=np.int16), tokens * layers),
        "expert": piece.experts.reshape(-1).astype(np.int32),
    }
    if weighed and piece.weights is not None:
        columns["weight"] = piece.weights.reshape(-1).astype(np.float32)
    if steps is not None:
        columns["step"] = np.repeat(steps[piece.positions].astype(np.int64), each)
    if domains is not None:
        columns["domain"] = np.repeat(domains[piece.positions].astype(np.int16), each)
    return columns if kept.all() else {name: column[kept] for name, column in columns.items()}


def _codes(tokens: Tokens) -> tuple[Array, Array | None]:
    labels = tokens.column("domains")
    if labels is None:
        return np.array([], dtype=str), None
    names, places = np.unique(labels.astype(str), return_inverse=True)
    return names, places


def _write_npz(tokens: Tokens, path: Path) -> int:
    """A column after the other, as an archive wants it: the trace is gone through once for each."""
    number = sum(len(columns["expert"]) for columns in _pieces(tokens))
    first = next(_pieces(tokens), {})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, example in first.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                header: dict[str, Any] = {
                    "descr": np.lib.format.dtype_to_descr(example.dtype),
                    "fortran_order": False,
                    "shape": (number,),
                }
                np.lib.format.write_array_header_1_0(file, header)
                for columns in _pieces(tokens):
                    file.write(columns[name].tobytes())
        names = {"layer_names": np.array(tokens.first.layer_names, dtype=str)}
        names |= {"domain_names": _codes(tokens)[0]} if "domain" in first else {}
        for name, labels in names.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, labels, allow_pickle=False)
    return number


def _write_parquet(tokens: Tokens, path: Path) -> int:
    pyarrow = _pyarrow(path)
    labels = {"layer": list(tokens.first.layer_names), "domain": _codes(tokens)[0].tolist()}
    number, writer = 0, None
    try:
        for columns in _pieces(tokens):
            table = pyarrow.table(
                {
                    name: pyarrow.DictionaryArray.from_arrays(pyarrow.array(column), pyarrow.array(labels[name]))
                    if name in labels
                    else pyarrow.array(column)
                    for name, column in columns.items()
                }
            )
            writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
            number += len(columns["expert"])
    finally:
        if writer is not None:
            writer.close()
    return number


_WRITERS: dict[str, Callable[[Tokens, Path], int]] = {".npz": _write_npz, ".parquet": _write_parquet}
