"""How gates answer their blocks, and what of a gate stays where its scorer and its selection rule are replaced.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

Decision = tuple[Tensor, Tensor, Tensor]
"""What a gate decides: logits (T, E), weights (T, K) and experts (T, K)."""
LINEAR_MAPS = ("wg", "gate", "layer", "proj", "classifier")
"""The names of the linear map in a gate that is none itself."""


class GateForm(nn.Module):
    """As nearly all gates answer: the decision itself.

    Another form overrides what differs. It may keep copies of modules of the original gate that are neither scorer nor
    rule: they are part of the new gate's state.

    Args:
        original: the model's own gate.

    Attributes:
        weights_dtype: of the weights that the block is given; None for the hidden states' own.
        own_rule: the new gate selects by the model's own rule.
    """

    answer = "logits, weights, experts"
    """What the block is answered, for tables."""
    recorded: int | None = 0
    """Which of the outputs transformers records as router logits; None where it records the block's."""
    original_is_linear = True
    """The gate's logits are a linear map of what `prepare` gives."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.weights_dtype: torch.dtype | None = None
        self.own_rule = True

    @staticmethod
    def linear_map(gate: nn.Module) -> tuple[Any, Any]:
        """Weight (E, D) and bias (E,) or None of the original gate; None for what is not there."""
        places = [gate, *(child for path in LINEAR_MAPS if (child := gate._modules.get(path)) is not None)]
        module = next((place for place in places if getattr(place, "weight", None) is not None), gate)
        return getattr(module, "weight", None), getattr(module, "bias", None)

    def check(self, name: str, top_k: int) -> None:
        """Raise a ValueError where the block's wiring cannot take K experts per token."""

    def prepare(self, hidden_states: Tensor) -> Tensor:
        """What the scorer sees, of the shape of the hidden states."""
        return hidden_states

    def give(self, decision: Decision, hidden_states: Tensor) -> Any:
        """The decision as the block expects it, for the hidden states that the gate was called with."""
        return decision

    @classmethod
    def read(cls, gate: nn.Module, output: Any) -> Decision:
        """The decision that the original gate's output says."""
        logits, weights, experts = output[:3]
        return logits, weights, experts
