"""A step of LoRA fine-tuning of a language model, with every registered router and with its own.

Axes: B batch, S sequence.
"""

from __future__ import annotations

import torch
from torch import nn

from bench.language_model.scenarios import LanguageModelScenario, Read
from bench.language_model.shared_weights import Install
from bench.scenario import register_scenario
from bench.timing.group import PreparedCall
from harness.replacement.moe_blocks import find_moe_blocks


def finetune_step(model: nn.Module, install: Install, read: Read, shape: tuple[int, int]) -> PreparedCall:
    """One batch of `python -m harness finetune`: forward, both losses, backward, and a step of AdamW.

    LoRA's weights and the routers' are trained, the model's own routers too. The learning rate is zero, so that every
    call does the work of a step and begins with the same weights. Gradients are let go between the calls.
    """
    from harness.finetuning.balance import LoadBalance
    from harness.finetuning.run import add_lora
    from harness.finetuning.settings import FinetuneSettings

    settings = FinetuneSettings()
    install(model)
    gates = {block.name: block.gate for block in find_moe_blocks(model)}
    adapted = add_lora(model, settings)
    for gate in gates.values():
        gate.requires_grad_()
    adapted.train()
    balance = LoadBalance(gates)
    optimizer = torch.optim.AdamW([weight for weight in adapted.parameters() if weight.requires_grad], lr=0.0)
    ids = read(*shape)

    def step() -> None:
        with balance.listening(None):
            loss = adapted(input_ids=ids, labels=ids, use_cache=False).loss
        (loss + settings.load_balancing_coefficient * balance.loss()).backward()
        optimizer.step()

    def reset() -> None:
        optimizer.zero_grad(set_to_none=True)
        balance.take_statistics()

    return PreparedCall(step, reset)


SCENARIO = register_scenario(
    LanguageModelScenario(
        name="finetune_step",
        label="Fine-tuning step",
        description="one step of fine-tuning on {batch} × {length} tokens: forward, backward and optimiser",
        prepare=finetune_step,
        shape=lambda preset: (preset.model_batch_size, preset.model_line_length),
        gradients=True,
    )
)

bench_finetune_step = SCENARIO.benchmark()
