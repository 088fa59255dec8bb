"""What is known before anything is timed, and what becomes of it in the JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from bench.gate.errors import GateError, WorkerError

LINEAR, HASH, MLP = (f"router | random | {name}" for name in ("linear", "hash", "mlp"))

Judge = Callable[..., dict[str, Any]]


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {row["benchmark"]: row["verdict"] for row in document["rows"]}


def test_added_and_removed_benchmarks_are_named(judged: Judge) -> None:
    document = judged({"benchmarks": [LINEAR, HASH]}, {"benchmarks": [MLP, LINEAR]})
    assert verdicts(document) == {LINEAR: "SAME"}
    assert (document["added"], document["removed"]) == ([MLP], [HASH])
    assert document["geometric_mean"] is None
    assert document["outcome"]["exit_code"] == 0


@pytest.mark.parametrize(("base", "head"), [([LINEAR], [HASH]), ([], []), ([LINEAR, HASH], [])])
def test_none_in_common_is_nothing_to_compare(judged: Judge, base: list[str], head: list[str]) -> None:
    usual, document = judged({}, {}), judged({"benchmarks": base}, {"benchmarks": head})
    assert document["outcome"]["exit_code"] == 3
    [reason] = document["outcome"]["reasons"]
    assert re.fullmatch(
        rf"base main~1 \(\w{{10}}\) has {len(base)} selected benchmarks, "
        rf"head main \(\w{{10}}\) has {len(head)}, none in common",
        reason,
    )
    assert document.keys() == usual.keys()
    assert document["rows"] == []


@pytest.mark.parametrize("side", ["base", "head"])
def test_a_check_that_fails_on_one_side_is_a_regression(judged: Judge, side: str) -> None:
    wrong = {"checks": {LINEAR: "AssertionError: differs"}}
    revisions = (wrong, {}) if side == "base" else ({}, wrong)
    document = judged(*revisions)
    assert verdicts(document) == {LINEAR: "FAILED", HASH: "SAME"}
    row = document["rows"][0]
    assert re.fullmatch(rf"fails in {side} main(~1)? \(\w{{10}}\): AssertionError: differs", row["reason"])
    assert (row["ratio"], row["pairs"]) == (None, 0)
    assert document["outcome"] == {"exit_code": 1, "reasons": [f"{LINEAR} {row['reason']}"]}
    document = judged(*revisions, "linear:check")
    assert document["rows"][0]["expected"] is True
    assert document["outcome"]["exit_code"] == 0


def test_what_a_check_says_is_one_line_that_somebody_may_read(judged: Judge) -> None:
    document = judged({}, {"checks": {LINEAR: "\x1b[2Jdiffers\n" + "x" * 1_000_000}})
    reason = document["rows"][0]["reason"]
    assert reason.isprintable()
    assert len(reason) < 1100
    assert "differs xxx" in reason


def test_a_check_that_fails_on_both_sides_is_no_regression(judged: Judge) -> None:
    document = judged({"checks": {LINEAR: "as ever"}}, {"checks": {LINEAR: "as before"}})
    assert verdicts(document) == {LINEAR: "FAILED", HASH: "SAME"}
    assert re.fullmatch(r"fails in base .*: as ever; fails in head .*: as before", document["rows"][0]["reason"])
    assert document["outcome"] == {"exit_code": 0, "reasons": []}


def test_where_all_fail_nothing_is_timed(judged: Judge) -> None:
    document = judged({}, {"checks": {LINEAR: "differs", HASH: "differs"}})
    assert set(verdicts(document).values()) == {"FAILED"}
    assert document["outcome"]["exit_code"] == 1


def test_one_input_of_each_shape_is_timed(judged: Judge) -> None:
    inputs = ("random", "same", "wide")
    names = [f"{scenario} | {each} | linear" for scenario in ("router", "token") for each in inputs]
    script = {"benchmarks": names, "shapes": {"random": [32, 64], "same": [32, 64], "wide": [32, 128]}}
    document = judged(script, script)
    timed = [name for name in names if "same" not in name]
    assert list(verdicts(document)) == timed
    assert document["not_timed"] == 2
    # In one revision alone is not enough: then they are different.
    other = script | {"shapes": {"random": [32, 64], "same": [16, 64], "wide": [32, 128]}}
    assert list(verdicts(judged(script, other))) == names
    # Where the first of a shape fails, the next one stands for it.
    wrong = script | {"checks": {"router | random | linear": "differs"}}
    verdict = verdicts(judged(wrong, wrong))
    assert verdict["router | same | linear"] == "SAME"
    assert verdict["router | random | linear"] == "FAILED"


@pytest.mark.parametrize("side", ["base", "head"])
@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ({"protocol": 2}, "its worker speaks protocol 2, this gate 1"),
        (
            {"routers": "/usr/lib/python3/routers/__init__.py"},
            "imports /usr/lib/python3/routers/__init__.py instead of its own checkout's code",
        ),
    ],
)
def test_a_worker_that_is_not_the_revisions_is_refused(
    judged: Judge, side: str, script: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(GateError) as raised:
        judged(*((script, {}) if side == "base" else ({}, script)))
    assert re.fullmatch(rf"{side} main(~1)? \(\w{{10}}\): {re.escape(complaint)}", str(raised.value))


@pytest.mark.parametrize("verb", ["collect", "prepare", "facts", "load", "time"])
def test_a_worker_that_fails_names_its_side(judged: Judge, verb: str) -> None:
    with pytest.raises(WorkerError, match=r"^head main \(\w{10}\): ValueError: no good"):
        judged({}, {"on": {verb: "error"}})
