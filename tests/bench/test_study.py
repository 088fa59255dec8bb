from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bench.case import Case
from bench.presets import get_preset
from bench.record.journal import Journal
from bench.study import Study
from bench.timing.context import Rig


class FakePart:
    """Takes down what is planned, and says what it is told to."""

    def __init__(self, scenarios: Collection[str], summary: dict[str, Any]) -> None:
        self.scenarios = scenarios
        self.planned: list[Case] = []
        self._summary = summary

    def plan(self, case: Case) -> None:
        self.planned.append(case)

    def summary(self) -> dict[str, Any]:
        return dict(self._summary)


def make_study(tmp_path: Path, *parts: FakePart) -> Study:
    with Journal(tmp_path / "journal", {}, resume=False) as journal:
        rig = Rig(journal, cast(Any, SimpleNamespace()), "cpu", 1)
    return Study(get_preset("smoke"), rig, cast(Any, parts))


def test_each_part_plans_and_measures_its_own_scenarios(tmp_path: Path) -> None:
    first, second = FakePart({"router", "token"}, {}), FakePart({"decode"}, {})
    study = make_study(tmp_path, first, second)
    cases = [Case("token", "linear", "random"), Case("decode", "linear"), Case("router", "hash", "random")]
    for case in cases:
        study.plan(case)
    assert (first.planned, second.planned) == ([cases[0], cases[2]], [cases[1]])
    assert study.part(cases[1]) is second


def test_the_summary_has_what_every_part_says_with_routers_and_texts_of_all(tmp_path: Path) -> None:
    first = FakePart({"router", "token"}, {"routers": {"mlp": 1, "hash": 2}, "texts": {"prose": 3}, "model": None})
    second = FakePart({"decode"}, {"routers": {"linear": 4}, "texts": {}, "language_model": {"name": "tiny"}})
    summary = make_study(tmp_path, first, second).summary()
    assert list(summary["routers"].items()) == [("hash", 2), ("linear", 4), ("mlp", 1)]
    assert summary["texts"] == {"prose": 3}
    assert (summary["model"], summary["language_model"]) == (None, {"name": "tiny"})
    assert (summary["schema"], summary["device"], summary["threads"]) == (1, "cpu", 1)
    assert summary["preset"]["name"] == "smoke"
    assert summary["noise"] == {"groups": 0, "worst": None}
