"""The routers' suite of a run, with a group of three in the smallest preset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.case import Case
from bench.presets import get_preset
from bench.record.journal import Journal, JournalError
from bench.repetition import repetition
from bench.router.checked import BASELINE, TWIN
from bench.router.inputs import Inputs
from bench.router.suite import RouterSuite
from bench.timing import ways
from bench.timing.context import MeasurementContext
from bench.timing.group import NotTimedError, floor_of
from bench.timing.modes import ClockMode
from harness.progress import Progress
from routers import Router, get_router_class, temporary_router

Measure = Callable[[RouterSuite], None]


@pytest.fixture
def broken_router() -> Iterator[None]:
    class Broken(Router):
        def compute_router_probabilities(self, hidden_states: torch.Tensor) -> torch.Tensor:
            raise ArithmeticError("broken on purpose")

    with temporary_router("broken", Broken):
        yield


@pytest.fixture
def make_suite(tmp_path: Path, no_bar: Progress, measure: Measure) -> Iterator[Callable[..., RouterSuite]]:
    """Suites of two routers on one journal, which the next one may resume, measured with what else is planned."""
    studies: list[RouterSuite] = []

    def make(*cases: Case, resume: bool = False, clock: str | None = None) -> RouterSuite:
        for earlier in studies:
            earlier.context.journal.close()
        preset = get_preset("smoke")
        journal = Journal(tmp_path / "journal", {}, resume=resume)
        mode = ClockMode.parse(clock, device="cpu")
        suite = RouterSuite(Inputs(preset, "cpu"), MeasurementContext(journal, no_bar, "cpu", 1, mode))
        for name in ("linear", "hash"):
            suite.plan(Case("router", name, "random"))
        for case in cases:
            suite.plan(case)
        studies.append(suite)
        measure(suite)
        return suite

    yield make
    for suite in studies:
        suite.context.journal.close()


def test_a_group_is_measured_once_with_the_baseline_twice(make_suite: Callable[..., RouterSuite]) -> None:
    suite = make_suite()
    group = suite.group(Case("router", "hash", "random"))
    assert [list(block.durations) for block in group.blocks] == [
        [BASELINE, TWIN, "hash", floor_of(BASELINE), floor_of("hash")]
    ] * 2
    assert all(len(rounds) == 3 for block in group.blocks for rounds in block.durations.values())
    assert suite.durations(Case("router", "hash", "random")) == [
        duration for block in group.blocks for duration in block.durations["hash"]
    ]


def test_the_baseline_is_measured_though_it_was_not_selected(make_suite: Callable[..., RouterSuite]) -> None:
    suite = make_suite(Case("token", "hash", "random"))
    info = suite.extra_info(Case("token", "hash", "random"))
    assert info["timing"]["baseline"] == BASELINE
    assert info["timing"]["ratio"]["low"] <= info["timing"]["ratio"]["estimate"] <= info["timing"]["ratio"]["high"]


def test_a_broken_router_does_not_stop_the_others(make_suite: Callable[..., RouterSuite], broken_router: None) -> None:
    suite = make_suite(Case("router", "broken", "random"))
    with pytest.raises(ArithmeticError, match="broken on purpose"):
        suite.durations(Case("router", "broken", "random"))
    assert suite.extra_info(Case("router", "linear", "random"))["router"] == "linear"


def test_a_resumed_suite_uses_what_was_measured(make_suite: Callable[..., RouterSuite]) -> None:
    first = make_suite()
    info = first.extra_info(Case("router", "hash", "random"))
    again = make_suite(resume=True)
    resumed = again.extra_info(Case("router", "hash", "random"))
    assert resumed == info


def test_a_suite_is_not_resumed_with_another_encoder(
    make_suite: Callable[..., RouterSuite], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_suite(Case("router", "hash", "skewed"))
    monkeypatch.setattr(RouterSuite, "resolved", lambda suite: {"encoder": "another"})
    with pytest.raises(JournalError, match="made with another encoder than can be had now"):
        make_suite(Case("router", "hash", "skewed"), resume=True)


def test_a_call_that_cannot_be_compiled_fails_alone_and_the_others_are_timed_in_their_mode(
    make_suite: Callable[..., RouterSuite], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "BACKEND", "eager")
    compiled = ways.compiled

    def not_of_hash(call: Callable[[], object]) -> Callable[[], object]:
        if "HashRouter" in str(call.__closure__):
            raise ways.WayError("cannot be compiled: no reason")
        return compiled(call)

    monkeypatch.setitem(ways.WAYS, "compile", replace(ways.WAYS["compile"], wrap=not_of_hash))
    suite = make_suite(Case("router", "mlp", "random"), clock="compile")
    with pytest.raises(NotTimedError, match=r"^WayError: cannot be compiled: no reason$"):
        suite.durations(Case("router", "hash", "random"))
    timing = suite.extra_info(Case("router", "mlp", "random"))["timing"]
    assert timing["clock_mode"] == "compile+host"
    assert timing["setup"]["graph_breaks"] == [0, 0]
    assert min(timing["setup"]["seconds"]) > 0
    assert suite.context.summary()["clock"]["mode"] == "compile+host"


def test_the_summary_names_the_routers_and_the_noise(make_suite: Callable[..., RouterSuite]) -> None:
    suite = make_suite()
    timing = suite.extra_info(Case("router", "hash", "random"))["timing"]
    assert (timing["clock_mode"], timing["l2"], timing["setup"]) == ("host", "warm", None)
    assert suite.context.summary()["clock"]["called"] == "eagerly"
    summary = suite.summary()
    assert summary["routers"] == {
        "linear": {"class": "routers.scorers.linear.LinearRouter"},
        "hash": {"class": "routers.scorers.hash.HashRouter"},
    }
    assert (summary["model"], summary["texts"]) == (None, {})
    [noise] = suite.context.summary()["noise"]
    assert (noise["scenario"], noise["input"]) == ("router", "random")
    assert noise["noise_floor"]["low"] <= noise["noise_floor"]["estimate"]
    assert noise["resolution"] > 0


def test_what_a_router_computes_with_is_said_where_it_tells(
    make_suite: Callable[..., RouterSuite], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = make_suite()
    assert "backend" not in suite.extra_info(Case("router", "hash", "random"))
    monkeypatch.setattr(get_router_class("hash"), "backend", "fast", raising=False)
    assert suite.extra_info(Case("router", "hash", "random"))["backend"] == "fast"


def test_the_summary_has_the_records_of_metrics_scenarios_and_inputs(make_suite: Callable[..., RouterSuite]) -> None:
    summary = make_suite().summary()
    assert summary["metrics"]["cv"] == {
        "label": "CV",
        "definition": "standard deviation of the experts' counts over their mean",
        "unit": None,
        "range": [0, None],
        "better": "lower",
        "format": ".3f",
    }
    assert summary["scenarios"] == {
        "router": {
            "label": "Router alone",
            "description": "the router alone, on the whole batch",
            "subject": "router",
        }
    }
    assert summary["inputs"] == {
        "random": {"label": "random", "description": "N(0, 1)", "timed": True, "text": None, "sizes": None}
    }


def test_what_is_said_does_not_depend_on_what_was_shown_before(make_suite: Callable[..., RouterSuite]) -> None:
    suite = make_suite()
    before = suite.summary(), suite.context.summary()["noise"]
    suite.extra_info(Case("router", "hash", "random"))
    assert (suite.summary(), suite.context.summary()["noise"]) == before


def test_where_the_baseline_fails_the_run_still_has_its_summary(make_suite: Callable[..., RouterSuite]) -> None:
    class Failing(Router):
        def compute_router_probabilities(self, hidden_states: torch.Tensor) -> torch.Tensor:
            raise ArithmeticError("broken on purpose")

    with temporary_router("linear", Failing):
        suite = make_suite()
        with pytest.raises(RuntimeError, match="the baseline linear failed"):
            suite.durations(Case("router", "hash", "random"))
        with pytest.raises(ArithmeticError, match="broken on purpose"):
            suite.durations(Case("router", "linear", "random"))
        assert suite.context.summary()["noise"] == []
        assert list(suite.summary()["routers"]) == ["hash"]


def test_no_router_is_faster_than_the_peak(
    make_suite: Callable[..., RouterSuite], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repetition, "peak_gflops", lambda *_: 1e-9)
    suite = make_suite()
    case = Case("router", "linear", "random")
    reached = {name: suite.group(case).gflops(name) for name in ("linear", "linear@again")}
    assert suite.extra_info(case)["timing"]["peak_gflops"] == max(reached.values()) > 1e-9


def test_an_input_that_is_compared_in_behaviour_has_few_rounds(make_suite: Callable[..., RouterSuite]) -> None:
    suite = make_suite()
    suite.preset = get_preset("quick")
    rounds = {name: suite.spec("router", name, ()).rounds for name in ("random", "supplemental")}
    assert rounds == {"random": 16, "supplemental": 3}
