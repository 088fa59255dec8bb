"""A JSON file as a `Node`, and what kind of file it is when it is not the kind that was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reports.errors import ReportError
from reports.loading.node import Node

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


def read_document(path: Path) -> Node:
    """The parsed file; whatever keeps it from being read or being JSON is a `ReportError`."""
    return Node(_parse(path))


def what_it_is(document: Node) -> str | None:
    """The kind of a file of this suite in words, or None where it is none."""
    fields = document.value if isinstance(document.value, dict) else {}
    kind = fields.get("kind")
    if isinstance(kind, str) and kind in _KINDS:
        return _KINDS[kind]
    return BENCHMARKS if "benchmarks" in fields and "study" in fields else None


def is_kind(document: Node, kind: str) -> bool:
    """Whether the file says that it is of this kind."""
    return what_it_is(document) == _KINDS[kind]


def expect_kind(document: Node, kind: str, schema: int) -> None:
    """Refuses a file of another kind or schema, and says what it is instead."""
    if not is_kind(document, kind):
        raise ReportError(f"is {what_it_is(document) or 'no file of this suite'}, not {_KINDS[kind]}")
    expect_schema(document, schema)


def expect_schema(node: Node, schema: int) -> None:
    """Refuses an object that another version of the suite has written."""
    found = node["schema"]
    if found.value != schema:
        raise found.fault(f"is {found.value!r}; this version reads schema {schema}")


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
