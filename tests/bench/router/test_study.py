"""The routers' part of a run, with a group of three in the smallest preset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bench.case import Case
from bench.presets import get_preset
from bench.record.journal import Journal
from bench.router.inputs import Inputs
from bench.router.study import RouterStudy
from bench.router.subjects import BASELINE, TWIN
from bench.timing.context import Rig
from bench.timing.group import Progress
from routers import Router, registry


@pytest.fixture
def broken_router(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Router):
        def compute_router_probabilities(self, hidden_states: torch.Tensor) -> torch.Tensor:
            raise ArithmeticError("broken on purpose")

    monkeypatch.setattr(registry, "_classes", registry._classes | {"broken": Broken})


@pytest.fixture
def make_study(tmp_path: Path, no_bar: Progress) -> Iterator[Callable[..., RouterStudy]]:
    """Studies of two routers on one journal, which the next one may resume."""
    studies: list[RouterStudy] = []

    def make(*, resume: bool = False) -> RouterStudy:
        for earlier in studies:
            earlier.rig.journal.close()
        preset = get_preset("smoke")
        journal = Journal(tmp_path / "journal", {}, resume=resume)
        study = RouterStudy(Inputs(preset, "cpu"), Rig(journal, no_bar, "cpu", 1))
        for name in ("linear", "hash"):
            study.plan(Case("router", name, "random"))
        studies.append(study)
        return study

    yield make
    for study in studies:
        study.rig.journal.close()


def test_a_group_is_measured_once_with_the_baseline_twice(make_study: Callable[..., RouterStudy]) -> None:
    study = make_study()
    group = study.group("router", "random")
    assert list(group.blocks) == [BASELINE, TWIN, "hash"]
    assert all(len(block) == 3 for blocks in group.blocks.values() for block in blocks)
    assert study.group("router", "random") is group
    assert study.durations(Case("router", "hash", "random")) == [d for block in group.blocks["hash"] for d in block]


def test_the_baseline_is_measured_though_it_was_not_selected(make_study: Callable[..., RouterStudy]) -> None:
    study = make_study()
    study.plan(Case("token", "hash", "random"))
    info = study.extra_info(Case("token", "hash", "random"))
    assert info["timing"]["baseline"] == BASELINE
    assert info["timing"]["ratio"]["low"] <= info["timing"]["ratio"]["estimate"] <= info["timing"]["ratio"]["high"]


def test_a_broken_router_does_not_stop_the_others(make_study: Callable[..., RouterStudy], broken_router: None) -> None:
    study = make_study()
    study.plan(Case("router", "broken", "random"))
    with pytest.raises(ArithmeticError, match="broken on purpose"):
        study.durations(Case("router", "broken", "random"))
    assert study.extra_info(Case("router", "linear", "random"))["router"] == "linear"


def test_a_resumed_study_uses_what_was_measured(make_study: Callable[..., RouterStudy]) -> None:
    first = make_study()
    info = first.extra_info(Case("router", "hash", "random"))
    again = make_study(resume=True)
    resumed = again.extra_info(Case("router", "hash", "random"))
    del info["timing"]["peak_gflops"], resumed["timing"]["peak_gflops"]  # measured anew in each process
    assert resumed == info


def test_the_summary_names_the_routers_and_the_noise(make_study: Callable[..., RouterStudy]) -> None:
    study = make_study()
    study.extra_info(Case("router", "hash", "random"))
    assert study.summary() == {
        "routers": {"hash": {"class": "routers.scorers.hash.HashRouter"}},
        "model": None,
        "texts": {},
    }
    noise = study.rig.summary()["noise"]
    assert noise["groups"] == 1
    assert noise["worst"] >= 0


def test_what_a_router_computes_with_is_said_where_it_tells(
    make_study: Callable[..., RouterStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study()
    assert "backend" not in study.extra_info(Case("router", "hash", "random"))
    monkeypatch.setattr(registry._classes["hash"], "backend", "fast", raising=False)
    assert study.extra_info(Case("router", "hash", "random"))["backend"] == "fast"
