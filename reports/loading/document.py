"""A JSON file, and what kind of file it is when it is not the kind that was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reports.errors import ReportError
from reports.loading.check import excerpt

GATE = "gate"
SELF_TEST = "self-test"
FINE_TUNING = "fine-tuning"

# What the field `kind` says, in words, and the command that reads it.
_KINDS = {
    GATE: "a gate's result (for `python -m reports gate`)",
    SELF_TEST: "a self-test of the gate (for `python -m reports operating`)",
    FINE_TUNING: "a fine-tuning (for `python -m reports`)",
}
BENCHMARKS = "a file of `pytest bench` (for `python -m reports` and `python -m reports compare`)"


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Every complaint raised inside begins with the file's name."""
    try:
        yield
    except ReportError as error:
        raise ReportError(f"{path}: {error}") from None


def read_document(path: Path) -> Any:
    """The parsed file; whatever keeps it from being read or being JSON is a `ReportError`."""
    return _parse(path)


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
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
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
