from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.language_models.builtin.neuron_groups import group_neurons


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(groups=st.integers(1, 6), size=st.integers(1, 5), tokens=st.integers(1, 20), seed=st.integers(0, 1000))
def test_every_neuron_is_in_one_group_and_groups_are_of_one_size(
    groups: int, size: int, tokens: int, seed: int
) -> None:
    activity = torch.rand(groups * size, tokens, generator=seeded(seed))
    found = group_neurons(activity, groups, rounds=3, generator=seeded())
    assert found.shape == (groups, size)
    assert sorted(found.flatten().tolist()) == list(range(groups * size))
    assert torch.equal(found, found.sort(dim=1).values)


def test_neurons_that_fire_together_are_one_group() -> None:
    patterns = torch.rand(4, 200, generator=seeded(1))
    belongs = torch.randperm(32, generator=seeded(2)) % 4
    activity = patterns[belongs] * torch.linspace(0.1, 9, 32)[:, None] + 0.01 * torch.rand(32, 200, generator=seeded(3))
    # Not every start finds all groups; this one does.
    found = group_neurons(activity, 4, rounds=10, generator=seeded(1))
    assert {tuple(belongs[group].tolist()) for group in found} == {(n,) * 8 for n in range(4)}


def test_the_same_seed_gives_the_same_groups() -> None:
    activity = torch.rand(60, 50, generator=seeded())
    first, second = (group_neurons(activity, 6, rounds=5, generator=seeded(7)) for _ in range(2))
    assert torch.equal(first, second)


def test_silent_neurons_are_grouped_too() -> None:
    found = group_neurons(torch.zeros(8, 5), 2, rounds=3, generator=seeded())
    assert sorted(found.flatten().tolist()) == list(range(8))


@pytest.mark.parametrize("groups", [0, 3])
def test_groups_that_cannot_be_of_one_size_are_refused(groups: int) -> None:
    with pytest.raises(ValueError, match=f"8 neurons do not fall into {groups} groups"):
        group_neurons(torch.zeros(8, 5), groups, rounds=1, generator=seeded())
