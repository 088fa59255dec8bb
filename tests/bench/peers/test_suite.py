"""The suite of peers: what is planned, timed, said of each, and left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.benchmarks import bench_peers
from bench.case import Case
from bench.peers import layers
from bench.peers.memory_need import needed_bytes, refuse_works_that_do_not_fit
from bench.peers.suite import PeerSuite
from bench.peers.work import Subject
from bench.peers.works import Works
from bench.presets import Preset, get_preset
from bench.record.journal import Journal, Unkept
from bench.router.checked import BASELINE, TWIN
from bench.router.memory_need import DoesNotFitError
from bench.run import Run
from bench.sizes import Sizes
from bench.timing.context import MeasurementContext
from bench.timing.group import CannotRunError
from harness.progress import Progress

GATE = "gate_mixtral@T5-D64-I96-float32"
LAYER = "layer_small_training@T5-D64-I96-float32"
THEIRS, EAGER, GROUPED, DEEPGEMM = (
    "mixtral@transformers",
    "eager@transformers",
    "grouped_mm@transformers",
    "deepgemm@transformers",
)
MakeSuite = Callable[..., PeerSuite]


@pytest.fixture
def make_suite(preset: Preset, tmp_path: Path, no_bar: Progress, measure: Callable[..., None]) -> MakeSuite:
    def make(*cases: tuple[str, str], resume: bool = False, preset: Preset = preset) -> PeerSuite:
        with Journal(tmp_path / "journal", {}, resume=resume) as journal:
            suite = PeerSuite(preset, MeasurementContext(journal, no_bar, "cpu", 1))
            for input_name, name in cases:
                suite.plan(Case("peers", name, input_name))
            measure(suite)
        return suite

    return make


def test_a_group_times_ours_twice_and_peers_with_memory_and_says_how_right_each_is(make_suite: MakeSuite) -> None:
    cases = (GATE, BASELINE), (GATE, THEIRS), (LAYER, EAGER), (LAYER, DEEPGEMM)
    suite = make_suite(*cases)
    gate = suite.group(Case("peers", THEIRS, GATE))
    assert [list(block.durations) for block in gate.blocks] == [[BASELINE, TWIN, THEIRS]] * 2
    infos: dict[str, dict[str, Any]] = {name: suite.extra_info(Case("peers", name, at)) for at, name in cases[:3]}
    theirs = infos[EAGER]
    what = theirs["work"], theirs["mode"], theirs["num_tokens"], theirs["dtype"]
    assert what == ("layer_small_training", "training", 5, "float32")
    assert (theirs["hidden_size"], theirs["intermediate_size"], theirs["num_experts"]) == (64, 96, 8)
    assert theirs["peak_memory"] > 4 * theirs["parameters"]  # its gradients
    assert (theirs["timing"]["baseline"], infos[THEIRS]["intermediate_size"]) == (BASELINE, None)
    assert all(info["agreement"] == 1.0 for info in infos.values())
    with pytest.raises(CannotRunError, match="Hopper"):
        suite.durations(Case("peers", DEEPGEMM, LAYER))
    assert suite.expected == 3
    summary = suite.summary()
    assert [(each["input"], each["peer"]) for each in summary["peers"]["left_out"]] == [(LAYER, DEEPGEMM)]
    assert set(summary["peers"]["works"]) == {"gate_mixtral", "layer_small_training"}
    assert summary["peers"]["packages"]["transformers"]
    assert list(suite.resolved()) == ["package transformers", "package megatron-core"]
    again = make_suite(*cases, resume=True)
    assert again.extra_info(Case("peers", EAGER, LAYER)) == theirs


def test_a_wrong_peer_is_named_and_not_timed(make_suite: MakeSuite, monkeypatch: pytest.MonkeyPatch) -> None:
    right = layers.Layers.subject

    def wrong(work: layers.Layers, name: str) -> Subject:
        subject = right(work, name)
        return replace(subject, outputs=lambda tokens: 2 * subject.outputs(tokens)) if name == EAGER else subject

    monkeypatch.setattr(layers.Layers, "subject", wrong)
    suite = make_suite((LAYER, EAGER), (LAYER, GROUPED))
    with pytest.raises(ValueError, match="the output is 1 of the largest value off the float64 reference"):
        suite.durations(Case("peers", EAGER, LAYER))
    assert len(suite.durations(Case("peers", GROUPED, LAYER))) == 4
    (said,) = suite.summary()["peers"]["left_out"]
    assert said["reason"].startswith("ValueError: the output is 1")
    assert suite.expected == 2  # a benchmark that fails is missed


def test_where_ours_cannot_do_the_work_nothing_is_timed(make_suite: MakeSuite, preset: Preset) -> None:
    name = "gate_deepseek_v3@T5-E12"  # no eight groups
    suite = make_suite(
        (name, "deepseek_v3@transformers"), preset=replace(preset, sizes=(Sizes(tokens=5, num_experts=12),))
    )
    with pytest.raises(ValueError, match="12"):
        suite.durations(Case("peers", "deepseek_v3@transformers", name))


def test_the_preset_collects_each_work_with_its_own_peers_and_others_none() -> None:
    pairs = bench_peers.SCENARIO.parameters(get_preset("peers"))["input_name,router_name"]
    assert len(pairs) == len(set(pairs))
    assert ("gate_gpt_oss@T64-bfloat16", "gpt_oss@transformers") in pairs
    assert ("gate_gpt_oss@T64-bfloat16", THEIRS) not in pairs
    assert {name.partition("@")[0] for name, _ in pairs} >= {"layer_small_training", "layer_large", "gate_qwen2_moe"}
    assert bench_peers.SCENARIO.parameters(get_preset("quick")) == {"input_name,router_name": []}


def test_a_selection_rule_is_refused_in_a_line() -> None:
    sizes = (Sizes(tokens=1, selection="deepseek_v3"),)
    with pytest.raises(ValueError, match="T1-deepseek_v3: peers have selection rules of their own; expected tokens"):
        bench_peers.SCENARIO.check_sizes(replace(get_preset("peers"), sizes=sizes))


def test_a_run_says_what_is_to_be_in_its_json(make_suite: MakeSuite, preset: Preset) -> None:
    suite = make_suite((GATE, BASELINE), (GATE, "gate@st-moe-pytorch"))
    summary = Run(preset, suite.context, [suite]).summary()
    assert summary["planned"] == 1
    assert summary["scenarios"]["peers"]["subject"] == "peer"
    assert suite.label(Case("peers", BASELINE, GATE)) == "peers | gate_mixtral | T=5 D=64 E=8 K=2 float32"


def test_a_work_that_does_not_fit_is_refused_with_both_figures(preset: Preset) -> None:
    case = Case("peers", BASELINE, "layer_small@D1000000")
    sizes = (Sizes(hidden_size=1_000_000), *preset.sizes)
    with pytest.raises(DoesNotFitError, match=r"layer_small@D1000000 needs about [\d,]+\.\d GB, and .* GB are free"):
        refuse_works_that_do_not_fit(replace(preset, sizes=sizes), [case, Case("peers", BASELINE, GATE)], "cpu")
    refuse_works_that_do_not_fit(preset, [Case("peers", BASELINE, GATE), Case("router", BASELINE, "random")], "cpu")
    # Ours, a peer's and gradients of 3·8·64·96 + 8·64 weights; a bank and (5, 8) logits; 5·2 rows there and back.
    bank = 8 * 64 * 96
    rows = 2 * (5 * 2 * (2 * 64 + 3 * 96)) * 4
    assert needed_bytes(Works(preset, "cpu"), LAYER) == 3 * (3 * bank + 8 * 64) * 4 + 4 * (bank + 5 * 8) + rows


def test_long_calls_have_fewer_rounds(no_bar: Progress) -> None:
    suite = PeerSuite(get_preset("peers"), MeasurementContext(Unkept(), no_bar, "cpu", 1))
    at = ("gate_mixtral@T512-float32", "layer_large_training@T512-bfloat16")
    assert [suite.spec("peers", name, ()).rounds for name in at] == [16, 8]
