"""Whoever is timed does the same work. Axes: T tokens, D hidden size, E experts, K experts per token."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from bench.peers import gates
from bench.peers.catalogue import WORKS, WorkKind, get_work
from bench.peers.check import CheckedPeer, check_subjects
from bench.peers.gates import MEGATRON, ST_MOE
from bench.peers.importing import module_of
from bench.peers.layers import BACKENDS, BATCHED, Layers
from bench.peers.work import Subject, WorkSizes, gap
from bench.router.checked import BASELINE, TWIN
from bench.sizes import DTYPES
from bench.timing.group import CannotRunError
from tests.bench.peers.conftest import SMALL

FETCHED = {"deepgemm@transformers", "sonicmoe@transformers"}


def checked(kind: WorkKind, dtype: str, num_tokens: int = 9) -> dict[str, CheckedPeer]:
    work = kind.make(kind.sizes_at(SMALL), "cpu", DTYPES[dtype])
    return check_subjects(work, kind.mode, num_tokens, (BASELINE, TWIN, *kind.peers))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", WORKS.values(), ids=list(WORKS))
def test_everybody_who_runs_gives_the_references_outputs_and_gradients(kind: WorkKind, dtype: str) -> None:
    found = checked(kind, dtype)
    sound = {name for name, each in found.items() if each.error is None}
    here = {name for name in kind.peers if name.endswith("@transformers")}
    assert sound >= {BASELINE, TWIN} | (here - FETCHED)
    assert all(isinstance(each.error, CannotRunError) for name, each in found.items() if name not in sound)
    assert all(found[name].agreement == 1.0 for name in sound)
    rounding = {"float32": 1e-6, "bfloat16": 3e-2}[dtype]
    assert 0 < max(found[name].error_to_reference or 0 for name in sound) < rounding
    assert len({found[name].parameters for name in sound}) == 1


@pytest.mark.parametrize("work", [Layers(WorkSizes(64, 8, 4, 2), "cpu", DTYPES["float32"]), get_work("gate_qwen3_moe")])
def test_tokens_are_not_the_numbers_of_the_weights(work: WorkKind | Layers) -> None:
    made = work if isinstance(work, Layers) else work.make(work.sizes_at(SMALL), "cpu", DTYPES["float32"])
    weights = made.subject(BASELINE).parameters[0].detach()  # the router's
    likeness = torch.nn.functional.cosine_similarity(made.draw(4)[:, None], weights[None], dim=-1)
    # of independent numbers 1/8 on average at a width of 64; of the same 1
    assert likeness.abs().max() < 0.6


@pytest.mark.parametrize("name", ["gate_qwen3_moe_training", "gate_gpt_oss_training", "gate_mixtral_training"])
def test_a_single_token_has_a_gradient_that_rounding_does_not_hide(name: str) -> None:
    found = checked(get_work(name), "float32", num_tokens=1)
    assert found[BASELINE].error is None
    assert found[f"{name.removeprefix('gate_').removesuffix('_training')}@transformers"].error is None


def test_who_cannot_run_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "megatron", None)  # as where it is not installed
    reasons = {name: str(each.error) for name, each in checked(get_work("gate_mixtral"), "float32").items()}
    assert reasons[MEGATRON].startswith("it cannot be imported: ModuleNotFoundError")
    assert "random" in reasons[ST_MOE]
    layer = {name: str(each.error) for name, each in checked(get_work("layer_small"), "float32").items()}
    assert "Hopper" in layer["deepgemm@transformers"]
    with pytest.raises(CannotRunError, match="it cannot be imported: ModuleNotFoundError: No module named 'no_such'"):
        module_of("no_such.module")


def test_a_peers_call_that_fails_is_a_reason_and_ours_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Subject:
        def call(tokens: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no kernel\nfor this")

        return Subject(call, call, call, [])

    monkeypatch.setattr(gates.Gates, "_theirs", fail)
    found = checked(get_work("gate_mixtral"), "float32")
    assert str(found["mixtral@transformers"].error) == "its call fails: RuntimeError: no kernel for this"
    assert isinstance(found["mixtral@transformers"].error, CannotRunError)
    monkeypatch.setattr(gates.Gates, "_ours", fail)
    with pytest.raises(RuntimeError, match="no kernel"):
        checked(get_work("gate_mixtral"), "float32")


def test_the_function_of_megatron_is_called_as_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    def topk_routing_with_score_function(
        logits: torch.Tensor, topk: int, use_pre_softmax: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As Megatron-core 0.16: the softmax is of the selected unless it comes first."""
        values = logits.softmax(dim=1) if use_pre_softmax else logits
        top, experts = values.topk(topk, dim=1)
        weights = top if use_pre_softmax else top.softmax(dim=1)
        return torch.zeros_like(logits).scatter(1, experts, weights), experts

    standin = ModuleType("moe_utils")
    standin.topk_routing_with_score_function = topk_routing_with_score_function  # type: ignore[attr-defined]  # stand-in
    monkeypatch.setattr(gates, "module_of", lambda name: standin if "megatron" in name else module_of(name))
    for name in ("gate_qwen2_moe", "gate_gpt_oss_training"):
        assert checked(get_work(name), "float32")[MEGATRON].error is None


def test_a_backend_that_copies_too_much_is_left_out_with_the_figure() -> None:
    work = Layers(WorkSizes(64, 96, 4, 2), "cpu", DTYPES["float32"])
    with pytest.raises(CannotRunError, match="copies 72 GiB of weights at 524,288 tokens, and 2 are allowed"):
        work.refuse(BATCHED, 512 * 1024)
    work.refuse("grouped_mm@transformers", 512 * 1024)


def test_all_of_transformers_backends_are_peers() -> None:
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    assert set(BACKENDS) == {"eager", *ALL_EXPERTS_FUNCTIONS}


def test_the_nearest_other_selection_by_hand() -> None:
    # 3 and 2 are selected, 1.5 is the next: half a logit away; nothing is left out of three
    logits = torch.tensor([[1.0, 3.0, 1.5, 2.0], [0.0, 1.0, 3.0, 2.0]])
    assert gap(logits, 2).tolist() == [0.5, 1.0]
    assert gap(logits[:, :3], 3).tolist() == [float("inf")] * 2


def test_a_work_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="unknown work 'sonnet'; there are: gate_mixtral, gate_qwen2_moe"):
        get_work("sonnet")
    assert get_work("gate_mixtral").sizes_at(replace(SMALL, num_experts=4)) == WorkSizes(64, 0, 4, 2)
