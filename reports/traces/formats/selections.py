"""One row a decision, in a table: CSV, JSON lines, Parquet, or the npz that `--export` writes.

Columns: `token`, `layer`, `rank` (or `k`) and `expert`; where they are, `weight`, `step` and `domain`. Tokens, ranks
and experts are whole numbers, layers numbers or names. In JSON lines a row may instead be a token in a layer, with
`experts`, and `weights`, as lists. Rows may stand in any order.

Axes: T tokens, L layers, K experts per token, N rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.formats.nested import compact
from reports.traces.formats.read import Candidate, Hints, TraceFormat
from reports.traces.trace import NO_EXPERT, Array, RoutingTrace

if TYPE_CHECKING:
    import pandas as pd

_NEEDED = ("token", "layer", "rank", "expert")
_PARQUET = b"PAR1"


def _knows(candidate: Candidate) -> bool:
    if candidate.suffix == ".parquet":
        return True
    if candidate.suffix in (".csv", ".tsv"):
        return "expert" in next((line for _, line in candidate.lines()), "")
    if candidate.arrays is not None:
        return {"token", "layer", "expert"} <= set(candidate.arrays.names)
    return "token" in candidate.first and bool({"expert", "experts"} & set(candidate.first))


def _read(candidate: Candidate, hints: Hints) -> RoutingTrace:
    reader = _READERS.get(candidate.suffix)
    if reader is None:
        raise TraceError(f"{candidate.name}: expected {', '.join(_READERS)}")
    columns = reader(candidate)
    if "k" in columns and "rank" not in columns:
        columns["rank"] = columns.pop("k")
    for each in _NEEDED:
        if each not in columns:
            raise TraceError(f"{candidate.name}: no column {each!r}, expected {', '.join(_NEEDED)}")
    if not len(columns["token"]):
        raise TraceError(f"{candidate.name}: no row")
    return _trace(columns, candidate.name, hints)


def _trace(columns: dict[str, Array], name: str, hints: Hints) -> RoutingTrace:
    for each in ("token", "rank", "expert", "step"):
        if each in columns:
            columns[each] = _whole(columns[each], each, name)
    tokens, token = np.unique(columns["token"], return_inverse=True)
    layers, layer = _layers(columns["layer"])
    rank = columns["rank"]
    top_k = int(rank.max()) + 1
    if rank.min() < 0:
        raise TraceError(f"{name}: rank {rank.min()}, expected 0 to K − 1")
    shape = (len(tokens), len(layers), top_k)
    _refuse_sparse(shape, len(rank), name)
    slot = np.ravel_multi_index((token, layer, rank), shape)
    seen = np.bincount(slot, minlength=int(np.prod(shape)))
    if (seen > 1).any():
        raise TraceError(f"{name}: {_place(np.argmax(seen > 1), shape, tokens, layers)} stands {seen.max()} times")
    if not hints.empty_slots and not seen.all():
        raise TraceError(
            f"{name}: {_place(np.argmin(seen), shape, tokens, layers)} is missing: cut off, or K disagrees"
        )
    hints.agreed("top_k", top_k, name)
    hints.agreed("layers", len(layers), name)
    return RoutingTrace(
        experts=_spread(slot, compact(columns["expert"]), shape, NO_EXPERT),
        num_experts=hints.num_experts,
        weights=_spread(slot, _numbers(columns["weight"], "weight", name), shape, 0) if "weight" in columns else None,
        domains=_of_tokens(columns, "domain", token, tokens, name),
        steps=_of_tokens(columns, "step", token, tokens, name),
        layer_names=tuple(map(str, layers)),
        source=name,
        empty_slots=hints.empty_slots,
    )


def _refuse_sparse(shape: tuple[int, int, int], rows: int, name: str) -> None:
    """A false rank or layer must not make an array that is all but empty."""
    if math.prod(shape) > 100 * rows:
        raise TraceError(
            f"{name}: {shape} (tokens, layers, K) of {rows:,} rows: nearly all slots would be empty; a false rank or "
            "layer?"
        )


def _spread(slot: Array, values: Array, shape: tuple[int, int, int], empty: int) -> Array:
    found = np.full(shape, empty, dtype=values.dtype)
    found.reshape(-1)[slot] = values
    return found


def _place(slot: Any, shape: tuple[int, int, int], tokens: Array, layers: Array) -> str:
    token, layer, rank = np.unravel_index(int(slot), shape)
    return f"token {tokens[token]}, layer {layers[layer]}, rank {rank}"


def _layers(values: Array) -> tuple[Array, Array]:
    """The layers' names in order, by number where all are numbers, and each row's place among them."""
    names, places = np.unique(values.astype(str), return_inverse=True)
    numbers = [int(each) if each.isdecimal() and len(each) < 10 else None for each in names]
    if None in numbers:
        return names, places
    order = np.argsort(np.array(numbers))
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return names[order], back[places]


def _whole(values: Array, column: str, name: str) -> Array:
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.int64)
    found = _numbers(values, column, name)
    wrong = found != np.floor(found)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise TraceError(f"{name}: row {row + 1}: {column} {values[row]}, expected a whole number")
    return found.astype(np.int64)


def _numbers(values: Array, column: str, name: str) -> Array:
    try:
        found = values.astype(np.float64)
    except (ValueError, TypeError):
        row, value = next((row, each) for row, each in enumerate(values) if not _is_number(each))
        raise TraceError(f"{name}: row {row + 1}: {column} {str(value)[:40]!r}, expected a number") from None
    wrong = ~np.isfinite(found) | (np.abs(found) > 2**53)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise TraceError(f"{name}: row {row + 1}: {column} {values[row]}, expected a finite number")
    return found


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (ValueError, TypeError):
        return False
    return True


def _of_tokens(columns: dict[str, Array], column: str, token: Array, tokens: Array, name: str) -> Array | None:
    """A column that says the same of a token in all its rows, one value a token."""
    if column not in columns:
        return None
    values = columns[column]
    found = np.empty(len(tokens), dtype=values.dtype)
    found[token] = values
    unlike = found[token] != values
    if unlike.any():
        row = int(np.argmax(unlike))
        raise TraceError(
            f"{name}: row {row + 1}: {column} {str(values[row])[:40]!r} of token {tokens[token[row]]}, "
            f"which has {str(found[token[row]])[:40]!r} elsewhere"
        )
    return found


def _of_frame(frame: pd.DataFrame) -> dict[str, Array]:
    return {str(column).strip(): frame[column].to_numpy() for column in frame.columns}


def _read_csv(candidate: Candidate) -> dict[str, Array]:
    import pandas as pd

    separator = {".tsv": "\t"}.get(candidate.suffix, ",")
    try:
        frame = pd.read_csv(
            candidate.path,
            sep=separator,
            dtype={"domain": str, "layer": str},
            keep_default_na=False,
            skipinitialspace=True,
        )
    except (ValueError, UnicodeDecodeError) as error:  # pandas' own errors are ValueErrors
        raise TraceError(f"{candidate.name}: no CSV, or cut off: {' '.join(str(error).split())[:200]}") from None
    if isinstance(frame.index, pd.MultiIndex) or not isinstance(frame.index, pd.RangeIndex):
        raise TraceError(f"{candidate.name}: rows have more cells than the first line has names")
    return _of_frame(frame)


def _read_parquet(candidate: Candidate) -> dict[str, Array]:
    import pandas as pd

    with candidate.path.open("rb") as file:
        if file.read(4) != _PARQUET:
            raise TraceError(f"{candidate.name}: no Parquet file")
    try:
        return _of_frame(pd.read_parquet(candidate.path))
    except ImportError:
        raise TraceError(f"{candidate.name}: Parquet is read by pyarrow, which is not installed") from None
    except Exception as error:  # of whatever engine reads it
        raise TraceError(f"{candidate.name}: cannot be read: {' '.join(str(error).split())[:200]}") from None


def _read_npz(candidate: Candidate) -> dict[str, Array]:
    arrays = candidate.arrays
    assert arrays is not None
    names = [each for each in ("token", "layer", "rank", "k", "expert", "weight", "step", "domain") if each in arrays]
    columns = {each: np.asarray(arrays[each]) for each in names}
    for each, column in columns.items():
        if column.ndim != 1 or column.shape != columns[names[0]].shape:
            raise TraceError(f"{candidate.name}: {each} is {column.shape}, expected one value a row")
    for each in ("layer", "domain"):
        labels = arrays.get(f"{each}_names")
        if each in columns and labels is not None:
            columns[each] = _named(columns[each], np.asarray(labels), f"{candidate.name}: {each}")
    return columns


def _named(places: Array, labels: Array, where: str) -> Array:
    if not np.issubdtype(places.dtype, np.integer) or (
        places.size and not 0 <= places.min() <= places.max() < len(labels)
    ):
        raise TraceError(f"{where}: a number that none of the {len(labels)} names has")
    return np.asarray(labels[places])


def _read_lines(candidate: Candidate) -> dict[str, Array]:
    rows: dict[str, list[Any]] = {}
    number = 0
    for where, record in candidate.objects():
        for row in _rows(record, where):
            for column, value in row.items():
                if isinstance(value, list | dict | bool) or value is None:
                    raise TraceError(f"{where}: {column[:40]} is {str(value)[:40]}, expected a number or a name")
                rows.setdefault(column, []).append(value)
            number += 1
            if any(len(values) != number for values in rows.values()):
                raise TraceError(f"{where}: not the fields of the rows before")
    return {column: _column(values) for column, values in rows.items()}


def _column(values: list[Any]) -> Array:
    """Numbers as numbers; NumPy would make strings of both where there are both."""
    numbers = all(isinstance(each, int | float) for each in values)
    return np.array(values) if numbers else np.array(values, dtype=object)


def _rows(record: dict[str, Any], where: str) -> list[dict[str, Any]]:
    if "experts" not in record:
        return [record]
    experts, weights = record["experts"], record.get("weights")
    if not isinstance(experts, list) or not (
        weights is None or (isinstance(weights, list) and len(weights) == len(experts))
    ):
        raise TraceError(f"{where}: experts are no list, or weights none of the same length")
    rest = {name: value for name, value in record.items() if name not in ("experts", "weights")}
    beside = [{}] * len(experts) if weights is None else [{"weight": each} for each in weights]
    return [rest | {"rank": rank, "expert": each} | beside[rank] for rank, each in enumerate(experts)]


_READERS: dict[str, Callable[[Candidate], dict[str, Array]]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".json": _read_lines,
    ".parquet": _read_parquet,
    ".npz": _read_npz,
}


FORMAT = TraceFormat("selections", "rows of token, layer, rank, expert (CSV, JSON lines, Parquet, npz)", _knows, _read)
