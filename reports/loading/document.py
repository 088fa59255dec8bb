"""A JSON file, and what kind of file it is when it is not the kind that was asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from reports.errors import ReportError
from reports.loading.check import excerpt, path_to

GATE = "gate"
SELF_TEST = "self-test"
FINE_TUNING = "fine-tuning"

# What the field `kind` says, in words, and the command that reads it.
_KINDS = {
    GATE: "a gate's result (for `python -m reports gate`)",
    SELF_TEST: "a self-test of the gate (for `python -m reports operating`)",
    FINE_TUNING: "a fine-tuning (for `python -m reports`)",
}
# Far more than anything that is written by this suite, far less than what keeps a reader waiting or breaks a library.
MOST_BYTES = 100_000_000
MOST_CHARACTERS = 20_000
DEEPEST = 50
LARGEST = 1e100

BENCHMARKS = "a file of `pytest bench` (for `python -m reports` and `python -m reports compare`)"


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Every complaint raised inside begins with the file's name."""
    try:
        yield
    except ReportError as error:
        raise ReportError(f"{path}: {error}") from None


def read_document(path: Path) -> Any:
    """The parsed file; whatever keeps it from being read, or being JSON within bounds, is a `ReportError`."""
    document = _parse(path)
    _expect_bounded(document)
    return document


def what_it_is(document: Any) -> str | None:
    """The kind of a file of this suite in words, or None where it is none."""
    fields = document if isinstance(document, dict) else {}
    kind = fields.get("kind")
    if isinstance(kind, str) and kind in _KINDS:
        return _KINDS[kind]
    return BENCHMARKS if "benchmarks" in fields and "study" in fields else None


def is_kind(document: Any, kind: str) -> bool:
    """Whether the file says that it is of this kind."""
    return what_it_is(document) == _KINDS[kind]


def expect_kind(document: Any, kind: str, schema: int) -> None:
    """Refuses a file of another kind or schema, and says what it is instead."""
    if not is_kind(document, kind):
        raise ReportError(f"is {what_it_is(document) or 'no file of this suite'}, not {_KINDS[kind]}")
    expect_schema(document, schema)


def expect_schema(fields: dict[str, Any], schema: int, where: str = "") -> None:
    """Refuses an object that another version of the suite has written."""
    if "schema" not in fields:
        raise ReportError(f"{where.rstrip('.') or 'the document'} has no field 'schema'")
    found = fields["schema"]
    if found != schema or isinstance(found, bool):
        older = f" (version 0.{found} of this suite reads it)" if type(found) is int and 0 < found < schema else ""
        raise ReportError(f"{where}schema is {excerpt(found)}; this version reads schema {schema}{older}")


def _parse(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise ReportError(f"holds {constant}, which is no JSON number")

    try:
        if path.stat().st_size > MOST_BYTES:
            raise ReportError(f"has more than {MOST_BYTES // 10**6} MB")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse, object_pairs_hook=_said_once)
    except OSError as error:
        raise ReportError(error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise ReportError("not JSON: not UTF-8 text") from None
    except RecursionError:
        raise ReportError("not JSON of this suite: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ReportError(f"not JSON, or cut off: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError:
        # Python refuses to convert integers of more than some thousand digits.
        raise ReportError("holds a number that is too long") from None


def _said_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the file, whose keys JSON allows to come twice, with two values for one thing."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise ReportError(f"holds an object with the key {excerpt(twice)} twice")
    return found


class _Place(NamedTuple):
    """Where a value stands: the place of what holds it, and its own key there."""

    above: _Place | None
    key: int | str
    depth: int

    def __str__(self) -> str:
        steps: list[int | str] = []
        place: _Place | None = self
        while place:
            steps.insert(0, place.key)
            place = place.above
        return path_to("", steps)


def _expect_bounded(document: Any) -> None:
    """Refuses texts that are none or too long, numbers beyond all measure and deep nesting, whatever reads them."""
    waiting: list[tuple[_Place | None, Any]] = [(None, document)]
    while waiting:
        place, value = waiting.pop()
        wrong = _out_of_bounds(value)
        if wrong:
            raise ReportError(f"{place or 'the document'} {wrong}")
        if not isinstance(value, dict | list):
            continue
        depth = place.depth + 1 if place else 1
        if depth > DEEPEST:
            raise ReportError(f"{place} is nested more than {DEEPEST} deep")
        if isinstance(value, dict):
            for key in value:
                if wrong := _out_of_bounds(key):
                    raise ReportError(f"{place or 'the document'} has a key that {wrong}")
        children = value.items() if isinstance(value, dict) else enumerate(value)
        waiting += [(_Place(place, key, depth), child) for key, child in children if not _is_plain(child)]


def _is_plain(value: Any) -> bool:
    """Whether nothing has to be said about a value: most are numbers."""
    return value is None or (isinstance(value, int | float) and -LARGEST <= value <= LARGEST)


def _out_of_bounds(value: Any) -> str | None:
    """What is wrong with a value by itself, or None."""
    if isinstance(value, str):
        if len(value) > MOST_CHARACTERS:
            return f"has more than {MOST_CHARACTERS} characters: {excerpt(value)}"
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return f"holds half a character, {value[error.start]!r}"
    elif isinstance(value, float) and math.isinf(value):
        return f"is not a finite number: {value}"
    elif isinstance(value, int | float) and not _is_plain(value):
        return f"is a number beyond ±{LARGEST:g}: {excerpt(value)}"
    return None
