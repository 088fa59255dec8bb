"""pydantic's complaint about a file in one line: the field's whole path, what is wrong, and the value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reports.errors import ReportError
from reports.format.escape import shorten

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
    # Cut first: what is shown of a million characters need not be made of all of them.
    shown = repr(value[:40] if isinstance(value, str | list | tuple) else value)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def _in_a_line(error: ErrorDetails, where: str) -> str:
    kind, steps = error["type"], error["loc"]
    if kind == "missing":
        return f"{path_to(where, steps[:-1]) or 'the document'} has no field {steps[-1]!r}"
    path, value = path_to(where, steps), error.get("input")
    if kind in _OUR_OWN:  # they begin with the rest of the path
        joint = "" if not path or error["msg"].startswith("[") else "." if kind != "empty" else " "
        return f"{path}{joint}{error['msg']}"
    if kind == "literal_error":
        expected = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
        return f"{path} is {excerpt(value)}, not one of {expected}"
    said = _WORDS[kind](error.get("ctx", {})) if kind in _WORDS else error["msg"]
    if kind in _COUNTS:
        said = "is not a number" if isinstance(value, bool) or not isinstance(value, int | float) else "is not a count"
    return f"{path or 'the document'} {said}: {excerpt(value)}"


def path_to(where: str, steps: Iterable[int | str]) -> str:
    """A path in a file, from a path on: `runs[0].losses`; keys are shortened."""
    path = where
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{shorten(step, 60)}" if path else shorten(step, 60)
    return path


def _above(context: Mapping[str, Any]) -> str:
    return "is not above zero" if not context.get("gt") else f"is not above {context['gt']:g}"


def _below(context: Mapping[str, Any]) -> str:
    # pydantic gives an integer for a field of integers, and those begin at 0.
    return "is not a count" if isinstance(context["ge"], int) else f"is below {context['ge']:g}"


def _beyond(context: Mapping[str, Any]) -> str:
    return "is not between 0 and 1" if context["le"] == 1 else f"is above {context['le']:g}"


_OUR_OWN = ("empty", "length", "order", "contradiction")
_COUNTS = ("int_type", "int_from_float", "int_parsing_size")
_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "float_type": lambda _: "is not a number",
    "finite_number": lambda _: "is not a finite number",
    "less_than_equal": _beyond,
    "less_than": lambda context: f"is not below {context['lt']:g}",
    "greater_than_equal": _below,
    "greater_than": _above,
    "string_too_long": lambda context: f"has more than {context['max_length']} characters",
    "string_type": lambda _: "is not a string",
    "bool_type": lambda _: "is not true or false",
    "tuple_type": lambda _: "is not a list",
    "list_type": lambda _: "is not a list",
    "dict_type": lambda _: "is not an object",
    "model_type": lambda _: "is not an object",
    "model_attributes_type": lambda _: "is not an object",
    "dataclass_type": lambda _: "is not an object",
}
