"""Two revisions in, the JSON out: `judge`, on made-up revisions in real worktrees."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.gate.errors import GateError

LINEAR, HASH, MLP = (f"router | random | {name}" for name in ("linear", "hash", "mlp"))

Judge = Callable[..., dict[str, Any]]


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {row["benchmark"]: row["verdict"] for row in document["rows"]}


def test_equal_revisions_are_the_same(judged: Judge, repository: Any) -> None:
    document = judged({}, {})
    assert verdicts(document) == {LINEAR: "SAME", HASH: "SAME"}
    assert document["outcome"] == {"exit_code": 0, "reasons": []}
    assert (document["kind"], document["schema"], document["notices"]) == ("gate", 1, ["a notice"])
    assert document["base"] == {
        "ref": "main~1",
        "commit": repository.git("rev-parse", "main~1"),
        "subject": "base",
    }
    assert document["head"]["subject"] == "head"
    assert document["preset"]["name"] == "smoke"
    assert (document["threshold"], document["margin"], document["budget_s"]) == (0.02, 0.05, 1000.0)
    assert document["machine"]["threads"]["torch"] == 1
    assert document["conditions"].keys() == {"before", "after"}
    # Three starts of 1 s in each of two rounds, two before; 0.01 s for each answer: six, then six cycles of three.
    assert document["elapsed_s"] == pytest.approx(2 + 2 * (3 + 2 * (6 + 6 * 3) * 0.01))


def test_a_slower_benchmark_is_a_regression_and_a_faster_one_is_none(judged: Judge) -> None:
    document = judged({}, {"ns": {LINEAR: 1_200_000, HASH: 800_000}})
    assert verdicts(document) == {LINEAR: "SLOWER", HASH: "FASTER"}
    assert document["outcome"]["exit_code"] == 1
    [reason] = document["outcome"]["reasons"]
    assert re.fullmatch(r"router \| random \| linear is slower: 1\.(19|20)\d \[1\.\d{3}, 1\.\d{3}\]", reason)
    slower = document["rows"][0]
    assert (slower["scenario"], slower["input"], slower["router"]) == ("router", "random", "linear")
    assert slower["ratio"]["low"] <= slower["ratio"]["estimate"] <= slower["ratio"]["high"]
    assert slower["ratio"]["estimate"] == pytest.approx(1.2, rel=0.01)
    assert slower["first_look"]["estimate"] == pytest.approx(1.2, rel=0.01)
    assert (slower["base_us"], slower["head_us"]) == (pytest.approx(1000, rel=0.01), pytest.approx(1200, rel=0.01))
    assert slower["noise"]["estimate"] == pytest.approx(1, abs=0.01)
    assert 0 < slower["floor"] < 0.01
    assert (slower["pairs"], slower["reason"], slower["expected"]) == (3, None, False)


def test_a_slower_benchmark_that_was_named_is_none(judged: Judge) -> None:
    slower = {"ns": {LINEAR: 1_200_000}}
    document = judged({}, slower, "linear:time")
    assert verdicts(document)[LINEAR] == "SLOWER"
    assert document["rows"][0]["expected"] is True
    assert document["outcome"] == {"exit_code": 0, "reasons": []}
    assert judged({}, slower, "hash:time")["outcome"]["exit_code"] == 1


def test_what_is_not_settled_is_no_regression_and_says_why(judged: Judge, local_workers: Any) -> None:
    local_workers.start_s = 300.0
    [row, _] = judged({}, {"ns": {LINEAR: 1_200_000}})["rows"]
    assert (row["verdict"], row["reason"], row["first_look"]) == (
        "UNCERTAIN",
        "not settled within the time given",
        None,
    )


def test_what_is_far_slower_fails_though_nothing_can_confirm_it(judged: Judge, local_workers: Any) -> None:
    local_workers.start_s = 300.0
    document = judged({}, {"ns": {LINEAR: 80_000_000}})
    row = document["rows"][0]
    assert (row["benchmark"], row["verdict"], row["pairs"], row["first_look"]) == (LINEAR, "SLOWER", 2, None)
    assert (
        row["reason"] == "far beyond threshold and noise in the first look, and too slow to be measured again in time"
    )
    assert document["outcome"]["exit_code"] == 1
    assert judged({}, {"ns": {LINEAR: 80_000_000}}, "linear:time")["outcome"]["exit_code"] == 0
    # What is far faster is none the worse for it.
    assert judged({}, {"ns": {LINEAR: 10_000}})["outcome"]["exit_code"] == 0


def test_what_was_left_out_because_another_is_far_slower_is_not_called_the_same(
    judged: Judge, local_workers: Any
) -> None:
    local_workers.calls_take_time = True
    names = {"benchmarks": [LINEAR, HASH]}
    document = judged(names, names | {"ns": {LINEAR: 900_000_000_000}})
    assert verdicts(document) == {LINEAR: "SLOWER", HASH: "UNCERTAIN"}
    assert document["rows"][1]["reason"] == "not measured: another benchmark is far slower, and the time was over"
    assert document["outcome"]["exit_code"] == 1
    assert document["not_timed"] == 0
    # Where the user has said so, the others are measured all the same.
    document = judged(names, names | {"ns": {LINEAR: 900_000_000_000}}, "linear:time")
    assert verdicts(document) == {LINEAR: "SLOWER", HASH: "SAME"}
    assert document["outcome"]["exit_code"] == 0


def test_the_geometric_mean_by_hand(judged: Judge) -> None:
    document = judged({"noise": 0.0}, {"noise": 0.0, "ns": {LINEAR: 1_210_000}})
    # The mean of log 1.21 and 0 is log 1.1.
    assert document["geometric_mean"] == {"estimate": pytest.approx(1.1)}


def test_a_figure_that_moves_is_a_regression_unless_it_is_named(judged: Judge) -> None:
    base = {"figures": [[LINEAR, "parameters", 512], ["random | linear", "cv", 0.5], [HASH, "peak_memory", None]]}
    head = {"figures": [[LINEAR, "parameters", 520], ["random | linear", "cv", 0.5], [HASH, "peak_memory", None]]}
    document = judged(base, head)
    figure = {"benchmark": LINEAR, "figure": "parameters", "base": 512, "head": 520}
    assert document["figures"] == [figure | {"expected": False}]
    assert document["figures_compared"] == 3
    assert document["outcome"] == {"exit_code": 1, "reasons": [f"{LINEAR}: parameters moved from 512 to 520"]}
    assert verdicts(document) == {LINEAR: "SAME", HASH: "SAME"}
    document = judged(base, head, "linear:parameters")
    assert document["figures"] == [figure | {"expected": True}]
    assert document["outcome"]["exit_code"] == 0


def test_a_figure_that_is_no_number_any_more_is_null(judged: Judge) -> None:
    document = judged({"figures": [[LINEAR, "cv", 0.5]]}, {"figures": [[LINEAR, "cv", math.nan]]})
    assert document["figures"][0]["head"] is None
    assert document["outcome"]["exit_code"] == 1
    both = {"figures": [[LINEAR, "cv", math.nan]]}
    assert judged(both, both)["figures"] == []


def test_a_misspelt_expectation_is_refused_before_anything_is_timed(judged: Judge, tmp_path: Path) -> None:
    log = {"log": str(tmp_path / "log")}
    with pytest.raises(
        GateError, match="names no figure of these benchmarks; there are: check, flops, parameters, peak_memory, time"
    ):
        judged(log, log, "parameter")
    assert '"load"' not in (tmp_path / "log").read_text()


def structure(value: Any) -> Any:
    """A document without its numbers."""
    if isinstance(value, dict):
        return {key: structure(each) for key, each in value.items() if key not in ("conditions", "date")}
    if isinstance(value, list):
        return [structure(each) for each in value]
    return "number" if isinstance(value, float) else value


def test_interrupted_anywhere_it_ends_with_a_document_like_that_of_a_whole_run(
    judged: Judge, memory: Any, tmp_path: Path
) -> None:
    script = {"log": str(tmp_path / "log")}
    revisions = script, script | {"ns": {LINEAR: 1_200_000}}
    whole = memory()
    expected = structure(judged(*revisions, kept=whole))
    assert expected["outcome"]["exit_code"] == 1
    for n in range(whole.appended):
        broken = memory(fail_at=n)
        with pytest.raises(KeyboardInterrupt):
            judged(*revisions, kept=broken)
        (tmp_path / "log").unlink()
        resumed = memory(broken.results)
        random.seed(n)
        document = structure(judged(*revisions, kept=resumed))
        # The reason has digits in it.
        for each in (document, expected):
            each["outcome"]["reasons"] = [re.sub(r"[\d.]+", "0", reason) for reason in each["outcome"]["reasons"]]
            each["base"].pop("commit", None)
            each["head"].pop("commit", None)
        assert document == expected
        asked = [json.loads(line)[2]["do"] for line in (tmp_path / "log").read_text().splitlines()]
        assert asked.count("prepare") == 2
        assert asked.count("facts") == (0 if "facts" in broken.results else 4)  # of two routers
