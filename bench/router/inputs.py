"""What the routers are given: seeded batches by name. Axes: B batch, S sequence, T = B·S tokens, D hidden size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from bench.presets import Preset
from bench.router.seeds import derive_seed
from harness.assets.resolve import resolve_model
from harness.encoder.embeddings import Encoder, contextual_embeddings, feed_forward_inputs, load_encoder, token_batch
from harness.text.texts import TextAsset, resolve_text

SHAKESPEARE, PROSE = "shakespeare", "prose"


@dataclass(frozen=True, eq=False)
class Batch:
    """One seeded batch.

    Attributes:
        hidden_states: (T, D).
        words: the T tokens as text, or None where there is none.
        batch_size: B.
        sequence_length: S.
    """

    hidden_states: Tensor
    batch_size: int
    sequence_length: int
    words: list[str] | None = None


@dataclass(frozen=True)
class InputKind:
    """How batches of a name are made.

    Attributes:
        make: (inputs, seed) -> batch.
        description: in words, with `{model}` for the encoder's name.
        pretrained: the width is the encoder's, and so are the experts.
        timed: in every scenario; otherwise with the router alone.
    """

    make: Callable[[Inputs, int], Batch]
    description: str
    pretrained: bool = True
    timed: bool = False


class Inputs:
    """Makes and keeps batches. The encoder and the texts are fetched when the first batch needs them.

    Args:
        preset: sizes, and the encoders in order of preference.
        device: where the hidden states are put.
        models: replaces the preset's, if given.
    """

    def __init__(self, preset: Preset, device: str, models: tuple[str, ...] = ()) -> None:
        self.preset = preset
        self.device = device
        self.models = models or preset.models
        self.batch = cache(self._batch)
        self.token_ids = cache(self._token_ids)
        self.text = cache(resolve_text)

    @cached_property
    def encoder(self) -> Encoder:
        """The first of the models that can be had."""
        return load_encoder(resolve_model(*self.models))

    def _batch(self, name: str, seed: int) -> Batch:
        batch = INPUTS[name].make(self, seed)
        return Batch(batch.hidden_states.to(self.device), batch.batch_size, batch.sequence_length, batch.words)

    def _token_ids(self, text: str, seed: int) -> Tensor:
        preset = self.preset
        asset: TextAsset = self.text(text)
        return token_batch(
            self.encoder,
            asset.text,
            batch_size=preset.batch_size,
            sequence_length=preset.sequence_length,
            seed=derive_seed("text", seed),
        )

    def describe(self, name: str) -> str:
        """One line on where the input comes from."""
        kind = INPUTS[name]
        return kind.description.format(model=self.encoder.asset.name if kind.pretrained else "")

    def from_text(self, text: str, seed: int, embed: Callable[[Encoder, Tensor], Tensor]) -> Batch:
        """Hidden states of the encoder over windows of a text."""
        ids = self.token_ids(text, seed)
        words = list(self.encoder.tokenizer.convert_ids_to_tokens(ids.flatten().tolist()))
        batch_size, sequence_length = ids.shape
        return Batch(embed(self.encoder, ids), batch_size, sequence_length, words)

    def normal(self, seed: int, *, hidden_size: int, offset: float = 0.0) -> Batch:
        """N(offset, 1) at the preset's B and S."""
        shape = self.preset.batch_size, self.preset.sequence_length
        return Batch(_normal(seed, shape[0] * shape[1], hidden_size) + offset, *shape)

    def matched(self, seed: int) -> Batch:
        """Gaussian with the mean and standard deviation of each feature of the contextual batch."""
        like = self.batch("contextual", seed).hidden_states.cpu()
        noise = _normal(seed, *like.shape)
        shape = self.preset.batch_size, self.preset.sequence_length
        return Batch(like.mean(dim=0) + noise * like.std(dim=0, correction=0), *shape)


def _normal(seed: int, tokens: int, hidden_size: int) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed("input", seed))
    return torch.randn(tokens, hidden_size, generator=generator)


INPUTS: dict[str, InputKind] = {
    "random": InputKind(
        lambda inputs, seed: inputs.normal(seed, hidden_size=inputs.preset.hidden_size),
        "N(0, 1)",
        pretrained=False,
        timed=True,
    ),
    "contextual": InputKind(
        lambda inputs, seed: inputs.from_text(SHAKESPEARE, seed, contextual_embeddings),
        "last hidden states of {model} over Shakespeare",
        timed=True,
    ),
    "in_place": InputKind(
        lambda inputs, seed: inputs.from_text(SHAKESPEARE, seed, feed_forward_inputs),
        "what enters the first feed-forward network of {model}, over Shakespeare",
    ),
    "prose": InputKind(
        lambda inputs, seed: inputs.from_text(PROSE, seed, contextual_embeddings),
        "last hidden states of {model} over this project's documentation",
    ),
    "matched": InputKind(
        lambda inputs, seed: inputs.matched(seed),
        "Gaussian with the mean and standard deviation of each feature of the contextual input of {model}",
    ),
    "plain": InputKind(
        lambda inputs, seed: inputs.normal(seed, hidden_size=inputs.encoder.hidden_size),
        "N(0, 1) at the width of {model}",
    ),
    "skewed": InputKind(
        lambda inputs, seed: inputs.normal(seed, hidden_size=inputs.encoder.hidden_size, offset=1.0),
        "N(1, 1) at the width of {model}",
    ),
    "supplemental": InputKind(
        lambda inputs, seed: Batch(_normal(seed, 32, 64), 1, 32),
        "N(0, 1), 32 tokens, D = 64",
        pretrained=False,
    ),
}
