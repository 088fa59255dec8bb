"""What one timed call does with a language model. Axes: B batch, S sequence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.language_model.shared_weights import Install
from bench.presets import Preset
from bench.timing.interleave import Call
from harness.replacement.moe_blocks import find_moe_blocks

if TYPE_CHECKING:  # for its type alone; it takes three seconds to import
    from transformers import PreTrainedModel

Read = Callable[..., Tensor]
"""(*shape) -> tokens of real text."""


@dataclass(frozen=True)
class Prepared:
    """A call to time.

    Attributes:
        call: what is timed.
        reset: puts back what a call has changed, outside of the time; None where it changes nothing.
    """

    call: Call
    reset: Call | None = None


@dataclass(frozen=True)
class ModelScenario:
    """A way to use a language model with routers.

    Attributes:
        name: as in the benchmark's group and in the JSON.
        prepare: (shell, install, read, (B, S)) -> the call to time.
        gradients: the call runs with autograd on.
        shape: preset -> (B, S) of the text that a call needs.
        tokens: (B, S) -> how many tokens one call handles.
        share: rounds of a block, as a multiple of the preset's: the short calls' are cheap.
    """

    name: str
    prepare: Callable[[PreTrainedModel, Install, Read, tuple[int, int]], Prepared]
    gradients: bool
    shape: Callable[[Preset], tuple[int, int]]
    tokens: Callable[[int, int], int]
    share: int = 1


def inject(shell: PreTrainedModel, install: Install, read: Read, shape: tuple[int, int]) -> Prepared:
    """Find the blocks, make a router for each, put them in and take them out again.

    For stock: find the blocks, copy the model's own gates, put the copies in and take them out, which is the least that
    a replacement can do.
    """
    return Prepared(lambda: install(shell).restore())


def prefill(shell: PreTrainedModel, install: Install, read: Read, shape: tuple[int, int]) -> Prepared:
    """Read B texts of S tokens without a cache, for the logits of each one's last token, which generation needs.

    The logits of all positions would add a product with the whole vocabulary that no router has a part in.
    """
    install(shell)
    ids = read(*shape)
    return Prepared(lambda: shell(input_ids=ids, use_cache=False, logits_to_keep=1))


def decode(shell: PreTrainedModel, install: Install, read: Read, shape: tuple[int, int]) -> Prepared:
    """One token for each of B texts, after S tokens that are in the cache; it leaves the cache again after each call.

    What the cache holds was computed with the routers in question. It keeps all tokens in every layer, those too that a
    layer with a sliding window no longer looks at: what such a layer drops cannot be brought back after a call. The
    window is still applied, so the logits are the same.
    """
    from transformers import DynamicCache

    install(shell)
    batch_size, length = shape
    ids = read(batch_size, length + 1)
    cache = DynamicCache()
    shell(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True, logits_to_keep=1)

    def next_token() -> object:
        return shell(input_ids=ids[:, -1:], past_key_values=cache, use_cache=True, logits_to_keep=1)

    return Prepared(next_token, lambda: cache.crop(-1))


def finetune_step(shell: PreTrainedModel, install: Install, read: Read, shape: tuple[int, int]) -> Prepared:
    """One batch of `python -m harness finetune`: forward, both losses, backward, and a step of AdamW.

    LoRA's weights and the routers' are trained, the model's own routers too. The learning rate is zero, so that every
    call does the work of a step and begins with the same weights. Gradients are let go between the calls.
    """
    from harness.finetuning.balance import LoadBalance
    from harness.finetuning.run import add_lora
    from harness.finetuning.settings import FinetuneSettings

    settings = FinetuneSettings()
    install(shell)
    gates = {block.name: block.gate for block in find_moe_blocks(shell)}
    model = add_lora(shell, settings)
    for gate in gates.values():
        gate.requires_grad_()
    model.train()
    balance = LoadBalance(gates)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=0.0)
    ids = read(*shape)

    def step() -> None:
        with balance.listening(None):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        (loss + settings.load_balancing_coefficient * balance.loss()).backward()
        optimizer.step()

    def reset() -> None:
        optimizer.zero_grad(set_to_none=True)
        balance.take_statistics()

    return Prepared(step, reset)


MODEL_SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        ModelScenario("inject", inject, False, lambda preset: (0, 0), lambda B, S: 0, share=4),
        ModelScenario(
            "prefill",
            prefill,
            False,
            lambda preset: (preset.model_batch_size, preset.model_sequence_length),
            lambda B, S: B * S,
        ),
        ModelScenario(
            "decode", decode, False, lambda preset: (1, preset.model_sequence_length), lambda B, S: B, share=4
        ),
        ModelScenario(
            "finetune_step",
            finetune_step,
            True,
            lambda preset: (preset.model_batch_size, preset.model_line_length),
            lambda B, S: B * S,
        ),
    )
}
