"""pydantic's complaint about a file in one line: the field's whole path, what is wrong, and the value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reports.errors import ReportError

AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


def check(record: type[AnyRecord], value: Any, where: str = "") -> AnyRecord:
    """The record that a parsed value holds.

    Args:
        record: its class.
        value: of the JSON.
        where: the value's own path in the file.

    Raises:
        ReportError: about the first field that is wrong.
    """
    try:
        return record.model_validate(value)
    except ValidationError as error:
        raise ReportError(_in_a_line(error.errors(include_url=False)[0], where)) from None


def excerpt(value: Any) -> str:
    """A value, shortened."""
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def _in_a_line(error: ErrorDetails, where: str) -> str:
    kind, steps = error["type"], error["loc"]
    if kind == "missing":
        return f"{_path(where, steps[:-1]) or 'the document'} has no field {steps[-1]!r}"
    path, value = _path(where, steps), error.get("input")
    if kind in ("empty", "length", "order"):  # of our own, which begin with the rest of the path
        joint = "" if not path or error["msg"].startswith("[") else "." if kind != "empty" else " "
        return f"{path}{joint}{error['msg']}"
    if kind == "literal_error":
        expected = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
        return f"{path} is {excerpt(value)}, not one of {expected}"
    said = _WORDS[kind](error.get("ctx", {})) if kind in _WORDS else error["msg"]
    if kind in _COUNTS:
        said = "is not a number" if isinstance(value, bool) or not isinstance(value, int | float) else "is not a count"
    return f"{path or 'the document'} {said}: {excerpt(value)}"


def _path(where: str, steps: tuple[int | str, ...]) -> str:
    path = where
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def _above(context: Mapping[str, Any]) -> str:
    return "is not above zero" if not context.get("gt") else f"is not above {context['gt']:g}"


_COUNTS = ("int_type", "int_from_float", "int_parsing_size", "greater_than_equal")
_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "float_type": lambda _: "is not a number",
    "finite_number": lambda _: "is not a finite number",
    "less_than_equal": lambda _: "is not between 0 and 1",
    "greater_than": _above,
    "string_type": lambda _: "is not a string",
    "bool_type": lambda _: "is not true or false",
    "tuple_type": lambda _: "is not a list",
    "list_type": lambda _: "is not a list",
    "dict_type": lambda _: "is not an object",
    "model_type": lambda _: "is not an object",
    "model_attributes_type": lambda _: "is not an object",
    "dataclass_type": lambda _: "is not an object",
}
