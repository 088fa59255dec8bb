"""A language model's part of a run, in the smallest preset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.case import Case
from bench.language_model import study as study_module
from bench.language_model.models import Loaded
from bench.language_model.shared_weights import STOCK, TWIN
from bench.language_model.study import ModelStudy
from bench.presets import get_preset
from bench.record.journal import Journal
from bench.timing.context import Rig
from bench.timing.group import Progress
from harness.assets.errors import AssetError
from routers import Router, registry


@pytest.fixture
def study(tmp_path: Path, loaded: Loaded, no_bar: Progress) -> Iterator[ModelStudy]:
    with Journal(tmp_path / "journal", {}, resume=False) as journal:
        study = ModelStudy(get_preset("smoke"), Rig(journal, no_bar, "cpu", 1))
        study.loaded = loaded  # not built again for each test
        for name in (STOCK, "hash"):
            study.plan(Case("decode", name))
        yield study


def test_a_group_has_the_models_own_routers_twice(study: ModelStudy) -> None:
    group = study.group("decode")
    assert list(group.blocks) == [STOCK, TWIN, "hash"]
    # The preset's rounds, four times: decoding a token is short.
    assert all(len(block) == 4 for blocks in group.blocks.values() for block in blocks)
    assert study.durations(Case("decode", "hash")) == [d for block in group.blocks["hash"] for d in block]


def test_the_models_own_routers_are_measured_though_they_were_not_selected(study: ModelStudy) -> None:
    study.plan(Case("inject", "linear"))
    assert list(study.group("inject").blocks) == [STOCK, TWIN, "linear"]


def test_every_entry_says_what_was_measured(study: ModelStudy) -> None:
    info = study.extra_info(Case("decode", "hash"))
    timing = info.pop("timing")
    assert isinstance(info.pop("peak_memory"), int)
    assert info == {
        "schema": 1,
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
    assert (timing["baseline"], timing["gflops"], timing["repetitions"], timing["rounds"]) == (STOCK, None, 2, 4)
    assert timing["ratio"]["low"] <= timing["ratio"]["estimate"] <= timing["ratio"]["high"]
    assert study.extra_info(Case("decode", STOCK))["initialise"] == "original"
    assert study.label(Case("decode", "hash")) == "decode | tiny | B=1 S=16 D=32 E=8 K=2"


def test_an_injection_handles_no_token(study: ModelStudy) -> None:
    case = Case("inject", "linear")
    study.plan(case)
    info = study.extra_info(case)
    assert [info[name] for name in ("batch_size", "sequence_length", "num_tokens")] == [None] * 3
    assert info["timing"]["ns_per_token"] is None
    assert study.label(case) == "inject | tiny | D=32 E=8 K=2"


def test_the_summary_names_the_model_its_text_and_the_routers(study: ModelStudy) -> None:
    study.extra_info(Case("decode", STOCK))
    study.extra_info(Case("decode", "hash"))
    summary = study.summary()
    assert summary["routers"] == {"hash": {"class": "routers.scorers.hash.HashRouter"}}
    assert list(summary["texts"]) == ["shakespeare"]
    model = summary["language_model"]
    assert (model["name"], model["requested"], model["model_type"]) == ("tiny", "tiny", "qwen2_moe")
    assert [model[name] for name in ("layers", "hidden_size", "num_experts", "top_k")] == [2, 32, 8, 2]
    assert model["parameters"] == sum(weight.numel() for weight in study.loaded.model.parameters())
    assert "path" not in model


def test_a_model_that_nobody_has_asked_for_is_not_loaded(tmp_path: Path, no_bar: Progress) -> None:
    with Journal(tmp_path / "journal", {}, resume=False) as journal:
        study = ModelStudy(get_preset("quick"), Rig(journal, no_bar, "cpu", 1), ["missing"])
        study.plan(Case("decode", STOCK))
        assert study.summary() == {"routers": {}, "texts": {}, "language_model": None}


def test_the_summary_of_a_model_without_experts_is_that_of_no_model(study: ModelStudy, loaded: Loaded) -> None:
    study.loaded = replace(loaded, model=torch.nn.Linear(2, 2))  # type: ignore[arg-type]  # nothing to be found in it
    assert study.summary() == {"routers": {}, "texts": {}, "language_model": None}


def test_a_text_that_cannot_be_had_any_more_does_not_cost_the_summary(
    study: ModelStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(name: str) -> None:
        raise AssetError(f"{name}: gone")

    study.extra_info(Case("decode", STOCK))
    monkeypatch.setattr(study_module, "resolve_text", gone)
    summary = study.summary()
    assert (summary["texts"], summary["language_model"]["name"]) == ({}, "tiny")


def test_a_preset_asks_for_its_model_first_and_then_for_the_embedded_one(tmp_path: Path, no_bar: Progress) -> None:
    with Journal(tmp_path / "journal", {}, resume=False) as journal:
        rig = Rig(journal, no_bar, "cpu", 1)
        assert ModelStudy(get_preset("paper"), rig).names == ("Qwen/Qwen1.5-MoE-A2.7B", "embedded")
        assert ModelStudy(get_preset("quick"), rig).names == ("embedded",)
        assert ModelStudy(get_preset("paper"), rig, ["tiny"]).names == ("tiny",)


def test_a_model_that_cannot_be_had_is_one_line(tmp_path: Path, no_bar: Progress) -> None:
    with Journal(tmp_path / "journal", {}, resume=False) as journal:
        study = ModelStudy(get_preset("smoke"), Rig(journal, no_bar, "cpu", 1), [str(tmp_path / "missing")])
        study.plan(Case("decode", STOCK))
        with pytest.raises(AssetError, match=r"missing: .*what can be named: tiny, embedded, a directory"):
            study.durations(Case("decode", STOCK))
        assert study.summary()["language_model"] is None


def test_a_broken_router_does_not_stop_the_others(study: ModelStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Router):
        def compute_router_probabilities(self, hidden_states: torch.Tensor) -> torch.Tensor:
            raise ArithmeticError("broken on purpose")

    monkeypatch.setattr(registry, "_classes", registry._classes | {"broken": Broken})
    study.plan(Case("decode", "broken"))
    with pytest.raises(ArithmeticError, match="broken on purpose"):
        study.check(Case("decode", "broken"))
    with pytest.raises(ArithmeticError, match="broken on purpose"):
        study.durations(Case("decode", "broken"))
    assert study.extra_info(Case("decode", "hash"))["router"] == "hash"
    study.check(Case("decode", "hash"))
