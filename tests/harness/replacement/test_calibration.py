"""Gates are watched while the model reads, once, without the padding."""

from __future__ import annotations

import pytest
import torch

from harness.replacement.calibration import Calibration, watch_gates

HIDDEN, EXPERTS, TOP_K = 32, 8, 2


class Gate(torch.nn.Module):
    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits = hidden_states[..., :EXPERTS]
        top = logits.topk(TOP_K)
        return logits, top.values, top.indices


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(11, HIDDEN)
        self.gate = Gate()
        self.calls = 0

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: object) -> None:
        assert not self.training
        self.calls += 1
        self.gate(self.embedding(input_ids))


LINES = [torch.tensor([3, 1, 4, 1, 5]), torch.tensor([9, 2]), torch.tensor([6, 5, 3])]


def test_a_gate_is_watched_without_the_padding() -> None:
    model = Model().train()
    lesson = watch_gates(model, {"0": model.gate}, LINES)["0"]
    assert model.training
    assert not model.gate._forward_hooks
    by_length = torch.cat([LINES[1], LINES[2], LINES[0]])
    assert torch.equal(lesson.hidden_states, model.embedding(by_length))
    assert lesson.logits.shape == (10, EXPERTS)
    assert lesson.experts.shape == (10, TOP_K)


def test_a_gate_is_watched_once_and_no_other_one_is_taken_for_it() -> None:
    model, calibration = Model(), Calibration(LINES)
    (first,) = calibration.lessons(model, {"0": model.gate})
    assert calibration.lessons(model, {"0": model.gate}) == [first]
    assert model.calls == 1
    other, again = calibration.lessons(model, {"1": model.gate, "0": model.gate})
    assert again is first
    assert other is not first
    assert model.calls == 2


def test_without_lines_there_is_nothing_to_fit_to() -> None:
    with pytest.raises(ValueError, match="calibration= is empty"):
        Calibration([]).lessons(Model(), {})
