from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness.text.perplexity import perplexity

V = 11


@pytest.fixture(scope="module")
def model() -> Iterator[LlamaForCausalLM]:
    config = LlamaConfig(
        vocab_size=V,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        attention_dropout=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield LlamaForCausalLM(config)


def sequences(*lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(V, (length,), generator=generator) for length in lengths]


def test_a_model_that_knows_nothing_has_the_vocabulary_as_perplexity(model: LlamaForCausalLM) -> None:
    with torch.no_grad():
        head = model.lm_head.weight.clone()
        model.lm_head.weight.zero_()
        assert perplexity(model, sequences(5, 9, 2)) == pytest.approx(V, rel=1e-6)
        model.lm_head.weight.copy_(head)


def test_every_predicted_token_counts_the_same(model: LlamaForCausalLM) -> None:
    texts = sequences(3, 12, 7)
    model.eval()
    nll = 0.0
    with torch.no_grad():
        for text in texts:  # one by one, without padding
            log_probs = model(input_ids=text[None]).logits[0, :-1].log_softmax(-1)
            nll -= float(log_probs.gather(1, text[1:, None]).sum())
    expected = math.exp(nll / (2 + 11 + 6))
    for batch_size in (1, 2, 8):
        assert perplexity(model, texts, batch_size=batch_size) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_evaluated_and_goes_back_to_its_mode(model: LlamaForCausalLM, training: bool) -> None:
    model.train(training)
    texts = sequences(6, 6)
    assert perplexity(model, texts) == perplexity(model, texts)  # dropout would tell them apart
    assert model.training is training


def test_its_mode_comes_back_after_an_error(model: LlamaForCausalLM) -> None:
    model.train()
    with pytest.raises(IndexError):
        perplexity(model, [torch.tensor([0, V + 1])])
    assert model.training


def test_a_single_token_adds_nothing(model: LlamaForCausalLM) -> None:
    texts = sequences(4, 6)
    assert perplexity(model, [*texts, torch.tensor([3])]) == pytest.approx(perplexity(model, texts), rel=1e-6)


@pytest.mark.parametrize("texts", [[], [torch.tensor([1])]], ids=["none", "one token"])
def test_nothing_to_predict_is_refused(model: LlamaForCausalLM, texts: list[torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="at least two tokens"):
        perplexity(model, texts)


def test_a_batch_size_below_one_is_refused(model: LlamaForCausalLM) -> None:
    with pytest.raises(ValueError, match="batch_size is 0"):
        perplexity(model, sequences(4), batch_size=0)
