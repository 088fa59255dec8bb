"""A language model reads a text, with every registered router and with its own. Axes: B batch, S sequence."""

from __future__ import annotations

from torch import nn

from bench.language_model.scenarios import LanguageModelScenario, Read
from bench.language_model.shared_weights import Install
from bench.scenario import register_scenario
from bench.timing.group import PreparedCall


def read_text(model: nn.Module, install: Install, read: Read, shape: tuple[int, int]) -> PreparedCall:
    """Read B texts of S tokens without a cache, for the logits of each one's last token, which generation needs.

    The logits of all positions would add a product with the whole vocabulary that no router has a part in.
    """
    install(model)
    ids = read(*shape)
    return PreparedCall(lambda: model(input_ids=ids, use_cache=False, logits_to_keep=1))


SCENARIO = register_scenario(
    LanguageModelScenario(
        name="prefill",
        label="Prefill",
        description="reading {batch} × {length} tokens without a cache, for the logits of each text's last one",
        prepare=read_text,
        shape=lambda preset: (preset.model_batch_size, preset.model_sequence_length),
    )
)

bench_prefill = SCENARIO.benchmark()
