"""The decisions of a model's gates while it reads some text, to which new routers are fitted.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.progress import progress_bar
from harness.replacement.gate_forms import Decision
from harness.replacement.gate_hooks import hear_gates, without_padding
from harness.text.passages import pad_batch
from harness.text.perplexity import input_device

LINES_IN_A_BATCH = 32


@dataclass(frozen=True, eq=False)
class Lesson:
    """The hidden states that a gate was given, and its decisions.

    Attributes:
        hidden_states: (T, D).
        logits: (T, E).
        experts: (T, K).
    """

    hidden_states: Tensor
    logits: Tensor
    experts: Tensor


class Calibration:
    """Lines of text for one model, each gate of which is watched once: whoever fits many routers keeps this object.

    Args:
        sequences: the token ids of each line, (S,) int64.
    """

    def __init__(self, sequences: Sequence[Tensor]) -> None:
        self._sequences = sequences
        self._lessons: dict[str, Lesson | None] = {}

    def lessons(self, model: nn.Module, gates: Mapping[str, nn.Module]) -> list[Lesson | None]:
        """The lesson of each gate, recorded when it is asked for first; None of a gate that the text does not reach.

        Args:
            model: has its own gates in place.
            gates: path -> gate.

        Raises:
            ValueError: there are no lines.
        """
        if not self._sequences:
            raise ValueError("calibration= is empty, expected the token ids of some lines of text")
        new = {path: gate for path, gate in gates.items() if path not in self._lessons}
        if new:
            self._lessons |= dict.fromkeys(new) | watch_gates(model, new, self._sequences)
        return [self._lessons[path] for path in gates]


@torch.no_grad()
def watch_gates(model: nn.Module, gates: Mapping[str, nn.Module], sequences: Sequence[Tensor]) -> dict[str, Lesson]:
    """Record each gate's decisions while the model reads the sequences, without their padding.

    All are heard in one pass and kept: T · D · 4 bytes for each gate.
    """
    heard: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in gates}
    mask: Tensor | None = None

    def hear(name: str, inputs: tuple[Tensor, ...], decision: Decision) -> None:
        logits, _, experts = decision
        heard[name].append(tuple(without_padding(part, mask) for part in (inputs[0], logits, experts)))

    config: Any = getattr(model, "config", None)
    training, device = model.training, input_device(model)
    by_length = sorted(sequences, key=len)
    model.eval()
    try:
        with hear_gates(gates, hear), progress_bar("calibration", len(by_length)) as bar:
            for start in range(0, len(by_length), LINES_IN_A_BATCH):
                batch = pad_batch(by_length[start : start + LINES_IN_A_BATCH], pad_id=0)
                ids, mask = (batch[name].to(device) for name in ("input_ids", "attention_mask"))
                decoder = {"decoder_input_ids": ids} if getattr(config, "is_encoder_decoder", False) else {}
                model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=1, **decoder)
                bar.update(len(ids))
    finally:
        model.train(training)
    return {
        name: Lesson(*(torch.cat(parts) for parts in zip(*calls, strict=True)))
        for name, calls in heard.items()
        if calls
    }
