"""The perplexity of a language model on a text.

Axes: B batch, S sequence, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.text.passages import IGNORED_LABEL, pad_batch

if TYPE_CHECKING:  # for its type alone; it takes three seconds to import
    from transformers import PreTrainedModel


@torch.no_grad()
def perplexity(model: PreTrainedModel, sequences: Sequence[Tensor], *, batch_size: int = 8) -> float:
    """exp of the mean negative log likelihood, in nats, of every token but each sequence's first.

    Every token counts the same, whichever sequence it stands in. The model is in evaluation mode meanwhile, and in its
    former mode afterwards.

    Args:
        model: a causal language model.
        sequences: (S,) int64 each, S may differ.
        batch_size: how many are padded together, by length; the result depends on it by rounding alone.

    Raises:
        ValueError: no token to predict, or a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    predicted = sum(max(len(sequence) - 1, 0) for sequence in sequences)
    if not predicted:
        raise ValueError("perplexity needs a sequence of at least two tokens: the first is not predicted")
    by_length = sorted(sequences, key=len)
    training = model.training
    model.train(False)
    try:
        total = 0.0
        for start in range(0, len(by_length), batch_size):
            batch = pad_batch(by_length[start : start + batch_size], pad_id=0)  # masked, so any token will do
            total += _negative_log_likelihood(model, batch)
    finally:
        model.train(training)
    try:
        return math.exp(total / predicted)
    except OverflowError:
        return math.inf


def _negative_log_likelihood(model: PreTrainedModel, batch: dict[str, Tensor]) -> float:
    """Summed over the batch's predicted tokens."""
    device = input_device(model)
    logits = model(
        input_ids=batch["input_ids"].to(device), attention_mask=batch["attention_mask"].to(device), use_cache=False
    ).logits  # (B, S, V)
    targets = batch["labels"][:, 1:].to(device)
    losses = F.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED_LABEL, reduction="none"
    )
    return float(losses.double().sum())


def input_device(model: nn.Module) -> torch.device:
    """The device for a model's token ids; accelerate moves those of a model that it has offloaded (meta) itself."""
    device = next(model.parameters()).device
    return torch.device("cpu") if device.type == "meta" else device
