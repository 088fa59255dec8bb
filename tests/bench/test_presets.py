from __future__ import annotations

import dataclasses

import pytest

from bench.presets import PRESETS, get_preset


def test_the_paper_preset_has_the_papers_sizes_and_rounds() -> None:
    paper = get_preset("paper")
    assert (paper.batch_size * paper.sequence_length, paper.hidden_size) == (2048, 768)
    assert (paper.num_experts, paper.top_k) == (8, 2)
    assert (paper.repetitions, paper.rounds) == (5, 1024)
    assert paper.models[0] == "bert-base-uncased"
    assert paper.language_model == "Qwen/Qwen1.5-MoE-A2.7B"


@pytest.mark.parametrize("name", ["quick", "paper", "ci"])
def test_presets_that_conclude_something_have_five_blocks_and_five_seeds(name: str) -> None:
    assert get_preset(name).repetitions >= 5
    assert get_preset(name).seeds >= 5


def test_an_unknown_preset_lists_those_that_exist() -> None:
    with pytest.raises(ValueError, match=f"unknown preset 'fast'; there are: {', '.join(PRESETS)}"):
        get_preset("fast")


def test_a_preset_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_preset("quick").rounds = 1  # type: ignore[misc]
