from __future__ import annotations

import json
from typing import Any

import pytest

from bench.gate.revisions.answers import expected_instead, read_answer

LINEAR = "router | random | linear"
COLLECTED = {"protocol": 1, "routers": "/somewhere/routers/__init__.py", "benchmarks": [LINEAR]}
COUNTS = [[LINEAR, "parameters", 512], [LINEAR, "flops", 1024.0], [LINEAR, "peak_memory", None]]
ARGUMENTS = {"benchmarks": [LINEAR], "calls": 2}


@pytest.mark.parametrize(
    ("verb", "answer"),
    [
        ("collect", COLLECTED),
        ("collect", COLLECTED | {"benchmarks": []}),
        ("collect", {"protocol": 2, "other": "words"}),  # refused by its number
        ("prepare", {"random": [32, 64], "unasked": "for"}),
        ("facts", {"checks": {LINEAR: None}, "figures": COUNTS}),
        ("facts", {"checks": {LINEAR: None}, "figures": [*COUNTS, [LINEAR, "cv", float("nan")]]}),
        ("facts", {"checks": {LINEAR: "AssertionError: differs"}, "figures": []}),
        ("load", None),
        ("time", [1, 10**12]),
        ("a verb of the future", ["anything"]),
    ],
)
def test_right_answers(verb: str, answer: Any) -> None:
    assert expected_instead(verb, ARGUMENTS, answer) is None


@pytest.mark.parametrize("verb", ["collect", "prepare", "facts", "load", "time"])
@pytest.mark.parametrize(
    "answer", [{}, [], 0, -1, True, "text", [[]], [0, 1], [1], [1, 2, 3], [1, 2.5], [1, True], [1, 1 << 63]]
)
def test_what_answers_nothing(verb: str, answer: Any) -> None:
    assert expected_instead(verb, ARGUMENTS, answer)


@pytest.mark.parametrize(
    ("verb", "answer"),
    [
        ("collect", COLLECTED | {"routers": "a\0b"}),
        ("collect", COLLECTED | {"benchmarks": [LINEAR, LINEAR]}),
        ("collect", COLLECTED | {"benchmarks": ["no bars"]}),
        ("collect", COLLECTED | {"benchmarks": ["a | b | \x1b[2J"]}),
        ("collect", COLLECTED | {"benchmarks": ["a | b | " + "c" * 200]}),
        ("collect", COLLECTED | {"protocol": True}),
        ("prepare", {"random": [32]}),
        ("prepare", {"random": [32, 0]}),
        ("prepare", {"other": [32, 64]}),
        ("facts", {"checks": {}, "figures": COUNTS}),
        ("facts", {"checks": {LINEAR: 5}, "figures": COUNTS}),
        ("facts", {"checks": {LINEAR: None}, "figures": COUNTS[1:]}),
        ("facts", {"checks": {LINEAR: None}, "figures": [*COUNTS, [LINEAR, "cv", "0.5"]]}),
        ("facts", {"checks": {LINEAR: None}, "figures": [*COUNTS, [LINEAR, "cv", True]]}),
        ("facts", {"checks": {LINEAR: None}, "figures": [*COUNTS, [LINEAR, "cv", 10**400]]}),
        ("facts", {"checks": {LINEAR: None}, "figures": [*COUNTS, [LINEAR, "\u202ecv", 1]]}),
    ],
)
def test_what_is_wrong_in_one_place(verb: str, answer: Any) -> None:
    assert expected_instead(verb, ARGUMENTS, answer)


def test_the_form_of_an_answer() -> None:
    assert read_answer(b'{"ok": [1]}') == ("ok", [1])
    assert read_answer(b'{"error": "no"}') == ("error", "no")


@pytest.mark.parametrize(
    "line",
    [b"", b"x", b"5", b"[]", b"{}", b'{"no": 1}', b'{"ok": 1, "error": 2}', b"\xff", b"[" * 200_000, b"9" * 5000],
)
def test_what_has_no_form(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # json's own have words of their own
        read_answer(line)


def test_numbers_as_json_has_them() -> None:
    answer = json.loads('{"checks": {"router | random | linear": "x"}, "figures": [["a", "b", 1e999]]}')
    assert expected_instead("facts", ARGUMENTS, answer) is None  # infinity becomes null
