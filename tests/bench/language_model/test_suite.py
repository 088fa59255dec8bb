"""A language model's suite of a run, in the smallest preset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.case import Case
from bench.language_model import suite as suite_module
from bench.language_model.calls import LanguageModelCalls
from bench.language_model.models import LoadedModel, load_first
from bench.language_model.shared_weights import TWIN
from bench.language_model.suite import LanguageModelSuite
from bench.presets import get_preset
from bench.record.journal import Journal
from bench.timing.context import MeasurementContext
from harness.assets.resolve import AssetError
from harness.progress import Progress
from harness.replacement.moe_blocks import STOCK
from routers import Router, temporary_router

Measure = Callable[[LanguageModelSuite], None]


@contextmanager
def planned_for(folder: Path, loaded: LoadedModel, no_bar: Progress, *cases: Case) -> Iterator[LanguageModelSuite]:
    """A suite of which nothing was measured yet."""
    with Journal(folder / "journal", {}, resume=False) as journal:
        suite = LanguageModelSuite(get_preset("smoke"), MeasurementContext(journal, no_bar, "cpu", 1))
        suite.loaded = loaded  # not built again for each test
        for case in cases:
            suite.plan(case)
        yield suite


DECODE = (Case("decode", STOCK), Case("decode", "hash"))


@pytest.fixture
def planned(tmp_path: Path, loaded: LoadedModel, no_bar: Progress) -> Iterator[LanguageModelSuite]:
    with planned_for(tmp_path, loaded, no_bar, *DECODE) as suite:
        yield suite


@pytest.fixture(scope="module")
def suite(
    tmp_path_factory: pytest.TempPathFactory, loaded: LoadedModel, no_bar: Progress, measure: Measure
) -> Iterator[LanguageModelSuite]:
    """Measured once, and looked at."""
    with planned_for(tmp_path_factory.mktemp("measured"), loaded, no_bar, *DECODE) as suite:
        measure(suite)
        yield suite


def test_a_group_has_the_models_own_routers_twice(suite: LanguageModelSuite) -> None:
    group = suite.group(Case("decode", "hash"))
    assert [list(block.durations) for block in group.blocks] == [[STOCK, TWIN, "hash"]] * 2
    # The preset's rounds, twice: decoding a token is short.
    assert all(len(rounds) == 2 for block in group.blocks for rounds in block.durations.values())


def test_the_model_is_not_kept_while_other_processes_have_theirs(suite: LanguageModelSuite) -> None:
    assert "loaded" not in suite.__dict__
    assert suite.about.sizes["num_experts"] == 8


def test_a_process_refuses_a_model_that_has_changed(suite: LanguageModelSuite) -> None:
    calls = LanguageModelCalls(suite.preset, ["tiny"], "0" * 64, "cpu")
    with pytest.raises(AssetError, match="tiny: changed while the run was going on"):
        calls.ready(Case("decode", STOCK))


def test_a_process_refuses_a_model_of_the_same_weights_and_another_configuration(
    suite: LanguageModelSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"rms_norm_eps": 1e-6}')
    tiny = load_first(["tiny"], "cpu")
    stored = replace(tiny, asset=replace(tiny.asset, path=tmp_path))
    monkeypatch.setattr("bench.language_model.calls.load_first", lambda names, device: stored)
    calls = LanguageModelCalls(suite.preset, ["tiny"], stored.asset.identity(), "cpu")
    (tmp_path / "config.json").write_text('{"rms_norm_eps": 1e-5}')
    with pytest.raises(AssetError, match="tiny: changed while the run was going on"):
        calls.ready(Case("decode", STOCK))


def test_every_entry_says_what_was_measured(suite: LanguageModelSuite) -> None:
    info = suite.extra_info(Case("decode", "hash"))
    timing, behaviour = info.pop("timing"), info.pop("behaviour")
    assert isinstance(info.pop("peak_memory"), int)
    assert info == {
        "subject": "language_model",
        "scenario": "decode",
        "router": "hash",
        "initialise": "random",
        "batch_size": 1,
        "sequence_length": 16,
        "num_tokens": 1,
        "layers": 2,
        "hidden_size": 32,
        "num_experts": 8,
        "top_k": 2,
        "experts_per_token": 1,
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "preset": "smoke",
        "parameters": 0,
        "flops": None,
    }
    assert behaviour["seeds"] == [0, 1]
    assert len(behaviour["precision"]["layers"]) == 2
    assert behaviour["precision"]["compared"]["float32"]["changed_tokens"]["mean"] == 0
    assert (timing["baseline"], timing["gflops"], timing["repetitions"], timing["rounds"]) == (STOCK, None, 2, 2)
    assert timing["ratio"]["low"] <= timing["ratio"]["estimate"] <= timing["ratio"]["high"]
    assert suite.extra_info(Case("decode", STOCK))["initialise"] == "original"
    assert suite.label(Case("decode", "hash")) == "decode | tiny | B=1 S=16 D=32 E=8 K=2"


def test_an_injection_handles_no_token_and_is_measured_beside_the_models_own_routers_that_nobody_selected(
    tmp_path: Path, loaded: LoadedModel, no_bar: Progress, measure: Measure
) -> None:
    case = Case("inject", "linear")
    with planned_for(tmp_path, loaded, no_bar, case) as suite:
        measure(suite)
    assert list(suite.group(case).blocks[0].durations) == [STOCK, TWIN, "linear"]
    info = suite.extra_info(case)
    assert [info[name] for name in ("batch_size", "sequence_length", "num_tokens")] == [None] * 3
    assert info["timing"]["ns_per_token"] is None
    assert suite.label(case) == "inject | tiny | D=32 E=8 K=2"


def test_the_summary_names_the_model_its_text_and_the_routers(suite: LanguageModelSuite, loaded: LoadedModel) -> None:
    suite.extra_info(Case("decode", STOCK))
    suite.extra_info(Case("decode", "hash"))
    summary = suite.summary()
    assert summary["routers"] == {"hash": {"class": "routers.scorers.hash.HashRouter"}}
    assert list(summary["texts"]) == ["shakespeare"]
    assert summary["scenarios"]["decode"]["subject"] == "language_model"
    assert list(summary["scenarios"]) == ["decode"]
    model = summary["language_model"]
    assert (model["name"], model["requested"], model["model_type"]) == ("tiny", "tiny", "qwen2_moe")
    assert [model[name] for name in ("layers", "hidden_size", "num_experts", "top_k")] == [2, 32, 8, 2]
    assert model["parameters"] == sum(weight.numel() for weight in loaded.model.parameters())
    assert "path" not in model


def test_a_model_that_nobody_has_asked_for_is_not_loaded(tmp_path: Path, no_bar: Progress) -> None:
    with Journal(tmp_path / "journal", {}, resume=False) as journal:
        suite = LanguageModelSuite(get_preset("quick"), MeasurementContext(journal, no_bar, "cpu", 1), ["missing"])
        suite.plan(Case("decode", STOCK))
        assert suite.summary() == {"routers": {}, "texts": {}, "scenarios": {}, "language_model": None}


def test_the_summary_of_a_model_without_experts_is_that_of_no_model(
    planned: LanguageModelSuite, loaded: LoadedModel
) -> None:
    planned.loaded = replace(loaded, model=torch.nn.Linear(2, 2))  # type: ignore[arg-type]  # nothing to be found in it
    assert planned.summary() == {"routers": {}, "texts": {}, "scenarios": {}, "language_model": None}


def test_a_text_that_cannot_be_had_any_more_does_not_cost_the_summary(
    suite: LanguageModelSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(name: str) -> None:
        raise AssetError(f"{name}: gone")

    suite.extra_info(Case("decode", STOCK))
    monkeypatch.setattr(suite_module, "resolve_text", gone)
    summary = suite.summary()
    assert (summary["texts"], summary["language_model"]["name"]) == ({}, "tiny")


def test_a_preset_asks_for_its_model_first_and_then_for_the_embedded_one(tmp_path: Path, no_bar: Progress) -> None:
    with Journal(tmp_path / "journal", {}, resume=False) as journal:
        context = MeasurementContext(journal, no_bar, "cpu", 1)
        assert LanguageModelSuite(get_preset("paper"), context).names == ("Qwen/Qwen1.5-MoE-A2.7B", "embedded")
        assert LanguageModelSuite(get_preset("quick"), context).names == ("embedded",)
        assert LanguageModelSuite(get_preset("paper"), context, ["tiny"]).names == ("tiny",)


def test_a_model_that_cannot_be_had_is_one_line(tmp_path: Path, no_bar: Progress, measure: Measure) -> None:
    with Journal(tmp_path / "journal", {}, resume=False) as journal:
        suite = LanguageModelSuite(
            get_preset("smoke"), MeasurementContext(journal, no_bar, "cpu", 1), [str(tmp_path / "missing")]
        )
        suite.plan(Case("decode", STOCK))
        with pytest.raises(AssetError, match=r"missing: .*what can be named: tiny, embedded, a directory"):
            measure(suite)
        assert suite.summary()["language_model"] is None


def test_a_broken_router_does_not_stop_the_others(planned: LanguageModelSuite, measure: Measure) -> None:
    suite = planned

    class Broken(Router):
        def compute_router_probabilities(self, hidden_states: torch.Tensor) -> torch.Tensor:
            raise ArithmeticError("broken on purpose")

    suite.plan(Case("decode", "broken"))
    with temporary_router("broken", Broken):
        with pytest.raises(ArithmeticError, match="broken on purpose"):
            suite.expect_sound(Case("decode", "broken"))
        measure(suite)
        with pytest.raises(ArithmeticError, match="broken on purpose"):
            suite.durations(Case("decode", "broken"))
    assert suite.extra_info(Case("decode", "hash"))["router"] == "hash"
    suite.expect_sound(Case("decode", "hash"))
