from __future__ import annotations

import pytest
import torch

from bench.presets import get_preset
from bench.router.inputs import INPUTS, Inputs


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return Inputs(get_preset("smoke"), "cpu")


@pytest.fixture(scope="module")
def again() -> Inputs:
    """With a model of its own."""
    return Inputs(get_preset("smoke"), "cpu")


@pytest.mark.parametrize("name", INPUTS)
def test_a_seed_gives_the_same_batch_and_another_seed_another(inputs: Inputs, again: Inputs, name: str) -> None:
    batch = inputs.batch(name, 0)
    assert torch.equal(batch.hidden_states, again.batch(name, 0).hidden_states)
    assert not torch.equal(batch.hidden_states, inputs.batch(name, 1).hidden_states)
    assert batch.hidden_states.dtype == torch.float32
    assert batch.hidden_states.isfinite().all()
    assert len(batch.hidden_states) == batch.batch_size * batch.sequence_length


def test_pretrained_inputs_have_the_encoders_width_and_the_others_the_presets(inputs: Inputs) -> None:
    for name, kind in INPUTS.items():
        width = inputs.batch(name, 0).hidden_states.shape[1]
        expected = inputs.encoder.hidden_size if kind.pretrained else {"random": 64, "supplemental": 64}[name]
        assert width == expected, name


def test_contextual_and_in_place_see_the_same_text(inputs: Inputs) -> None:
    contextual, in_place = inputs.batch("contextual", 0), inputs.batch("in_place", 0)
    assert contextual.words == in_place.words
    assert contextual.words is not None
    assert contextual.words[0] == "[CLS]"
    assert inputs.batch("prose", 0).words != contextual.words
    assert inputs.batch("plain", 0).words is None


def test_matched_has_the_moments_of_contextual_and_nothing_else() -> None:
    inputs = Inputs(get_preset("quick"), "cpu")
    contextual, matched = (inputs.batch(name, 0).hidden_states for name in ("contextual", "matched"))
    torch.testing.assert_close(matched.mean(dim=0), contextual.mean(dim=0), atol=0.06, rtol=0)
    torch.testing.assert_close(matched.std(dim=0), contextual.std(dim=0), atol=0, rtol=0.12)
    # Features of real embeddings hang together, those of the control do not.
    # Three features of MiniLM are constant, and have no correlation.
    alive = contextual.std(dim=0) > 1e-6
    off_diagonal = ~torch.eye(int(alive.sum()), dtype=torch.bool)
    strength = [torch.corrcoef(x[:, alive].T)[off_diagonal].abs().mean() for x in (contextual, matched)]
    assert strength[0] > 2 * strength[1]


def test_skewed_is_plain_with_an_offset(inputs: Inputs) -> None:
    plain, skewed = inputs.batch("plain", 0).hidden_states, inputs.batch("skewed", 0).hidden_states
    assert torch.equal(skewed, plain + 1)


def test_the_source_names_the_model(inputs: Inputs) -> None:
    assert "embedded" in inputs.describe("contextual")
    assert inputs.describe("random") == "N(0, 1)"
