"""A language model's next token, with every registered router and with its own. Axes: B batch, S sequence."""

from __future__ import annotations

from torch import nn

from bench.language_model.scenarios import LanguageModelScenario, Read
from bench.language_model.shared_weights import Install
from bench.scenario import register_scenario
from bench.timing.group import PreparedCall


def next_token(model: nn.Module, install: Install, read: Read, shape: tuple[int, int]) -> PreparedCall:
    """One token for each of B texts, after S tokens that are in the cache; it leaves the cache again after each call.

    What the cache holds was computed with the routers in question. It keeps all tokens in every layer, those too that a
    layer with a sliding window no longer looks at: what such a layer drops cannot be brought back after a call. The
    window is still applied, so the logits are the same.
    """
    from transformers import DynamicCache

    install(model)
    batch_size, length = shape
    ids = read(batch_size, length + 1)
    cache = DynamicCache()
    model(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True, logits_to_keep=1)

    def decode() -> object:
        return model(input_ids=ids[:, -1:], past_key_values=cache, use_cache=True, logits_to_keep=1)

    return PreparedCall(decode, lambda: cache.crop(-1))


SCENARIO = register_scenario(
    LanguageModelScenario(
        name="decode",
        label="Decode",
        description="decoding one token, batch of {batch}, with {length} tokens in the cache",
        prepare=next_token,
        shape=lambda preset: (1, preset.model_sequence_length),
        tokens=lambda B, S: B,
        share=2,
    )
)

bench_decode = SCENARIO.benchmark()
