"""One run, with a group of three routers in the smallest preset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from bench.group import Bar
from bench.inputs import Inputs
from bench.journal import Journal
from bench.presets import get_preset
from bench.study import Study
from bench.subjects import BASELINE, TWIN
from routers import Router, registry


class Silent:
    def update(self, n: int = 1) -> object:
        return n


@contextmanager
def no_bar(what: str, steps: int) -> Iterator[Bar]:
    yield Silent()


@pytest.fixture
def broken_router(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Router):
        def compute_router_probabilities(self, hidden_states: torch.Tensor) -> torch.Tensor:
            raise ArithmeticError("broken on purpose")

    monkeypatch.setattr(registry, "_classes", registry._classes | {"broken": Broken})


@pytest.fixture
def make_study(tmp_path: Path) -> Iterator[Callable[..., Study]]:
    """Studies of two routers on one journal, which the next one may resume."""
    studies: list[Study] = []

    def make(*, resume: bool = False) -> Study:
        for earlier in studies:
            earlier.journal.close()
        preset = get_preset("smoke")
        journal = Journal(tmp_path / "journal", {}, resume=resume)
        study = Study(preset, Inputs(preset, "cpu"), journal, no_bar, "cpu", 1)
        for name in ("linear", "hash"):
            study.plan("router", "random", name)
        studies.append(study)
        return study

    yield make
    for study in studies:
        study.journal.close()


def test_a_group_is_measured_once_with_the_baseline_twice(make_study: Callable[..., Study]) -> None:
    study = make_study()
    group = study.group("router", "random")
    assert list(group.blocks) == [BASELINE, TWIN, "hash"]
    assert all(len(block) == 3 for blocks in group.blocks.values() for block in blocks)
    assert study.group("router", "random") is group
    assert study.durations("router", "random", "hash") == [d for block in group.blocks["hash"] for d in block]


def test_the_baseline_is_measured_though_it_was_not_selected(make_study: Callable[..., Study]) -> None:
    study = make_study()
    study.plan("token", "random", "hash")
    info = study.extra_info("token", "random", "hash")
    assert info["timing"]["baseline"] == BASELINE
    assert info["timing"]["ratio"]["low"] <= info["timing"]["ratio"]["estimate"] <= info["timing"]["ratio"]["high"]


def test_a_broken_router_does_not_stop_the_others(make_study: Callable[..., Study], broken_router: None) -> None:
    study = make_study()
    study.plan("router", "random", "broken")
    with pytest.raises(ArithmeticError, match="broken on purpose"):
        study.durations("router", "random", "broken")
    assert study.extra_info("router", "random", "linear")["router"] == "linear"


def test_a_resumed_study_uses_what_was_measured(make_study: Callable[..., Study]) -> None:
    first = make_study()
    info = first.extra_info("router", "random", "hash")
    again = make_study(resume=True)
    resumed = again.extra_info("router", "random", "hash")
    del info["timing"]["peak_gflops"], resumed["timing"]["peak_gflops"]  # measured anew in each process
    assert resumed == info


def test_the_summary_names_the_routers_and_the_noise(make_study: Callable[..., Study]) -> None:
    study = make_study()
    study.extra_info("router", "random", "hash")
    summary = study.summary()
    assert summary["routers"]["hash"] == {"class": "routers.hash.HashRouter"}
    assert (summary["model"], summary["texts"]) == (None, {})
    assert summary["noise"]["groups"] == 1
    assert summary["noise"]["worst"] >= 0
