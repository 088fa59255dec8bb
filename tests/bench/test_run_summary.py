from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bench.case import Case
from bench.presets import get_preset
from bench.record.journal import Journal
from bench.run import Run
from bench.timing.context import MeasurementContext


class FakeSuite:
    """Takes down what is planned, and says what it is told to."""

    def __init__(self, subject: str, summary: dict[str, Any]) -> None:
        self.subject = subject
        self.planned: dict[tuple[str, str], list[str]] = {}
        self._summary = summary

    def plan(self, case: Case) -> None:
        self.planned.setdefault((case.scenario, case.input), []).append(case.router)

    @property
    def expected(self) -> int:
        return sum(map(len, self.planned.values()))

    def summary(self) -> dict[str, Any]:
        return dict(self._summary)


def make_run(tmp_path: Path, *suites: FakeSuite) -> Run:
    with Journal(tmp_path / "journal", {}, resume=False) as journal:
        context = MeasurementContext(journal, cast(Any, SimpleNamespace()), "cpu", 1)
    return Run(get_preset("smoke"), context, cast(Any, suites))


def test_each_suite_plans_and_measures_its_own_scenarios(tmp_path: Path) -> None:
    first, second = FakeSuite("router", {}), FakeSuite("language_model", {})
    run = make_run(tmp_path, first, second)
    cases = [Case("token", "linear", "random"), Case("decode", "linear"), Case("router", "hash", "random")]
    for case in cases:
        run.suite(case).plan(case)
    assert first.planned == {("token", "random"): ["linear"], ("router", "random"): ["hash"]}
    assert second.planned == {("decode", ""): ["linear"]}
    assert cast(Any, run.suite(cases[1])) is second


def test_the_summary_has_what_every_suite_says_with_routers_and_texts_of_all(tmp_path: Path) -> None:
    said = {"routers": {"mlp": 1, "hash": 2}, "texts": {"prose": 3}, "scenarios": {"token": 5}, "model": None}
    first = FakeSuite("router", said)
    said = {"routers": {"linear": 4}, "texts": {}, "scenarios": {"decode": 6}, "language_model": {"name": "tiny"}}
    second = FakeSuite("language_model", said)
    run = make_run(tmp_path, first, second)
    for router in ("linear", "hash"):
        run.suite(Case("token", router)).plan(Case("token", router, "random"))
    run.suite(Case("decode", "mlp")).plan(Case("decode", "mlp"))
    summary = run.summary()
    assert summary["planned"] == 3
    assert list(summary["routers"].items()) == [("hash", 2), ("linear", 4), ("mlp", 1)]
    assert summary["texts"] == {"prose": 3}
    assert list(summary["scenarios"].items()) == [("token", 5), ("decode", 6)]
    assert (summary["model"], summary["language_model"]) == (None, {"name": "tiny"})
    assert (summary["schema"], summary["device"], summary["threads"]) == (3, "cpu", 1)
    assert summary["preset"]["name"] == "smoke"
    assert summary["noise"] == []
