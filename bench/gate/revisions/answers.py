"""What a worker may answer. A revision's code may answer anything; only what is right goes on from here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from bench.case import Case
from bench.gate.worker import PROTOCOL

LONGEST_NAME = 200
"""Characters of a benchmark's or a figure's name."""
LARGEST = 1 << 63
"""No count, shape or duration comes near it."""
COUNTS = ("parameters", "flops", "peak_memory")
"""What has to be stated of every router that passed its check, if only as null."""


def read_answer(line: bytes) -> tuple[str, Any]:
    """The kind of an answer, "ok" or "error", and what it says.

    Raises:
        ValueError: it is not of that form.
    """
    try:
        [(kind, answer)] = json.loads(line).items()
    except (AttributeError, RecursionError) as error:
        raise ValueError("no object of one field") from error
    if kind not in ("ok", "error"):
        raise ValueError("neither ok nor error")
    return kind, answer


def expected_instead(verb: str, arguments: Mapping[str, Any], answer: Any) -> str | None:
    """What an answer should have been, in words; None where it is that.

    Args:
        verb: what was asked.
        arguments: of the request.
        answer: any JSON.
    """
    if verb not in _EXPECTED:
        return None
    words, is_right = _EXPECTED[verb]
    return None if is_right(answer, arguments) else words


def _is_collected(answer: Any, _: Mapping[str, Any]) -> bool:
    if not isinstance(answer, dict):
        return False
    if not _is_count(answer.get("protocol")):
        return False
    if answer["protocol"] != PROTOCOL:
        return True  # another protocol may say the rest otherwise; the gate refuses it by its number
    names = answer.get("benchmarks")
    return (
        _is_printable(answer.get("routers"))
        and isinstance(names, list)
        and all(_is_name(name) and name.count(" | ") >= 2 for name in names)
        and len(set(names)) == len(names)
    )


def _is_prepared(answer: Any, arguments: Mapping[str, Any]) -> bool:
    inputs = {Case.parse(name).input for name in arguments["benchmarks"]}
    return isinstance(answer, dict) and all(
        isinstance(shape := answer.get(name), list) and len(shape) == 2 and all(map(_is_positive, shape))
        for name in inputs
    )


def _is_facts(answer: Any, arguments: Mapping[str, Any]) -> bool:
    if not isinstance(answer, dict):
        return False
    checks, figures = answer.get("checks"), answer.get("figures")
    if not isinstance(checks, dict) or checks.keys() != set(arguments["benchmarks"]):
        return False
    if not all(wrong is None or isinstance(wrong, str) for wrong in checks.values()):
        return False
    if not isinstance(figures, list) or not all(map(_is_figure, figures)):
        return False
    stated = {(name, figure) for name, figure, _ in figures}
    return all((name, count) in stated for name, wrong in checks.items() if wrong is None for count in COUNTS)


def _is_figure(figure: Any) -> bool:
    return isinstance(figure, list) and len(figure) == 3 and all(map(_is_name, figure[:2])) and _is_number(figure[2])


def _are_durations(answer: Any, arguments: Mapping[str, Any]) -> bool:
    return isinstance(answer, list) and len(answer) == arguments["calls"] and all(map(_is_positive, answer))


def _is_number(value: Any) -> bool:
    """None is one that does not exist, and so are NaN and infinity, which the gate makes None."""
    return value is None or isinstance(value, float) or (type(value) is int and abs(value) < LARGEST)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < LARGEST


def _is_positive(value: Any) -> bool:
    return _is_count(value) and value > 0


def _is_printable(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_name(value: Any) -> bool:
    return _is_printable(value) and 0 < len(value) <= LONGEST_NAME


_Check = Callable[[Any, Mapping[str, Any]], bool]
_EXPECTED: Mapping[str, tuple[str, _Check]] = {
    "collect": ("protocol, the path of routers and the names of benchmarks, each once", _is_collected),
    "prepare": ("[T, D] of every input", _is_prepared),
    "facts": ("the check of every benchmark and figures, of those that pass their counts", _is_facts),
    "load": ("null", lambda answer, _: answer is None),
    "time": ("a whole number of nanoseconds above 0 for every call", _are_durations),
}
