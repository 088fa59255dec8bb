"""The experts behind the routers of one input. Axes: T tokens, D hidden size, E experts, I intermediate size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.router.inputs import Inputs, input_kind
from bench.router.seeds import derive_seed
from harness.encoder.bert import experts_from_feed_forward, feed_forward
from routers import FeedForwardExperts

KINDS = ("copied", "partitioned")
"""How experts are made from the encoder's first feed-forward network. The timed ones are the first."""


@dataclass(frozen=True, eq=False)
class ExpertBanks:
    """Banks that all routers of an input share.

    Attributes:
        banks: kind -> (expert_inputs (N, D), expert_index (N,)) -> (N, D).
        original_output: what the feed-forward network that they were made from gives for the first tokens, or None.
    """

    banks: dict[str, nn.Module]
    original_output: Tensor | None


def make_experts(inputs: Inputs, input_name: str, seed: int, kinds: tuple[str, ...] = KINDS) -> ExpertBanks:
    """ExpertBanks for an input: from the encoder where the input has its width, otherwise drawn at random."""
    at = inputs.at(input_name)
    preset, device = at.preset, inputs.device
    seed_of_bank, dtype = derive_seed("experts", seed), at.dtype.hidden_states
    hidden_states = inputs.batch(input_name, seed).hidden_states
    if input_kind(input_name).pretrained:
        model = inputs.encoder.model
        banks = {kind: experts_from_feed_forward(model, preset.num_experts, kind, seed=seed_of_bank) for kind in kinds}
        with torch.no_grad():
            # Where the encoder is: its own modules must not be moved.
            original_output = feed_forward(model)(hidden_states[: preset.output_tokens].to(model.device, torch.float32))
        return ExpertBanks({kind: bank.to(device, dtype) for kind, bank in banks.items()}, original_output.to(device))
    hidden_size = hidden_states.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of_bank)
        bank = FeedForwardExperts(preset.num_experts, hidden_size, intermediate_size(inputs, input_name))
    return ExpertBanks({"random": bank.to(device, dtype)}, None)


def intermediate_size(inputs: Inputs, input_name: str) -> int:
    """I: the encoder's, or for random input the preset's, in proportion to D."""
    preset = inputs.at(input_name).preset
    if input_kind(input_name).pretrained:
        return inputs.encoder.intermediate_size
    hidden_size = inputs.batch(input_name, 0).hidden_states.shape[1]
    return preset.intermediate_size * hidden_size // preset.hidden_size
