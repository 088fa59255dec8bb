"""What the routers are given: seeded batches by name. Axes: B batch, S sequence, T = B·S tokens, D hidden size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bench.presets import Preset
from bench.router.seeds import derive_seed
from bench.sizes import DTYPES, SEPARATOR, DType, Sizes
from harness.assets.resolve import resolve_model
from harness.encoder.embeddings import Encoder, contextual_embeddings, feed_forward_inputs, load_encoder, token_batch
from harness.text.texts import TextAsset, resolve_text

SHAKESPEARE, PROSE = "shakespeare", "prose"

MakeBatch = Callable[["Inputs", int], "Batch"]


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
        name: as in pytest's ids and in the JSON.
        description: in words, with `{model}` for the encoder's name.
        make: (inputs, seed) -> batch.
        text: name of the text that it is made from, or None.
        pretrained: the width is the encoder's, and so are the experts.
        timed: in every scenario; otherwise with the router alone, in few rounds: it is compared in behaviour.
        precision: routers are compared with float64 on it whatever the preset; otherwise where that has it everywhere.
        own_sizes: whatever the preset's are. It is measured at no others.
    """

    name: str
    description: str
    make: MakeBatch
    text: str | None = None
    pretrained: bool = True
    timed: bool = False
    precision: bool = False
    own_sizes: bool = False

    def can_have(self, sizes: Sizes) -> bool:
        """Whether it is measured at those sizes: an encoder has its own widths, and reads whole windows."""
        of_the_encoder = (sizes.tokens, sizes.hidden_size, sizes.intermediate_size)
        follows = not self.pretrained or not any(of_the_encoder)
        return self.timed and not self.own_sizes and follows


INPUTS: dict[str, InputKind] = {}
"""All inputs by name, in the order in which reports show them."""


def register_input(name: str, description: str, **options: Any) -> Callable[[MakeBatch], MakeBatch]:
    """A decorator that makes a function (inputs, seed) -> batch known as an input; the options are `InputKind`'s.

    Raises:
        ValueError: the name is taken.
    """

    def register(make: MakeBatch) -> MakeBatch:
        if name in INPUTS:
            raise ValueError(f"input {name!r} is already registered")
        INPUTS[name] = InputKind(name, description, make, **options)
        return make

    return register


def input_kind(name: str) -> InputKind:
    """The kind of an input, at whatever sizes: of `random@T16` that of `random`."""
    return INPUTS[name.partition(SEPARATOR)[0]]


def inputs_of(preset: Preset, *, every: bool) -> list[str]:
    """The names of the inputs that a preset measures, `random@LABEL` where it names sizes.

    Args:
        preset: with its inputs and sizes.
        every: also those that are compared in behaviour alone.
    """
    kinds = {name: kind for name, kind in INPUTS.items() if not preset.inputs or name in preset.inputs}
    if not preset.sizes:
        return [name for name, kind in kinds.items() if kind.timed or every]
    return [
        f"{name}{SEPARATOR}{sizes.label}"
        for sizes in preset.sizes
        for name, kind in kinds.items()
        if kind.can_have(sizes)
    ]


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
        self._batches: dict[tuple[str, int], Batch] = {}
        self._token_ids: dict[tuple[str, int], Tensor] = {}
        self._texts: dict[str, TextAsset] = {}
        self._at: dict[str, Inputs] = {}

    def at(self, name: str) -> Inputs:
        """Those whose preset has the sizes of an input by its name; itself for one at the preset's own."""
        label = name.partition(SEPARATOR)[2]
        if not label:
            return self
        if label not in self._at:
            self._at[label] = InputsAt(self, label)
        return self._at[label]

    @property
    def dtype(self) -> DType:
        """Of the hidden states and of the routers."""
        return DTYPES[self.preset.dtype]

    @cached_property
    def encoder(self) -> Encoder:
        """The first of the models that can be had."""
        return load_encoder(resolve_model(*self.models))

    def text(self, name: str) -> TextAsset:
        """The text of a name, read once."""
        if name not in self._texts:
            self._texts[name] = resolve_text(name)
        return self._texts[name]

    def batch(self, name: str, seed: int) -> Batch:
        """The batch of an input and a seed, made once and kept on the device."""
        if SEPARATOR in name:
            return self.at(name).batch(name.partition(SEPARATOR)[0], seed)
        if (name, seed) not in self._batches:
            batch = INPUTS[name].make(self, seed)
            hidden_states = batch.hidden_states.to(self.device, self.dtype.hidden_states)
            self._batches[name, seed] = replace(batch, hidden_states=hidden_states)
        return self._batches[name, seed]

    def token_ids(self, text: str, seed: int) -> Tensor:
        """(B, S) token ids of seeded windows of a text, made once."""
        if (text, seed) not in self._token_ids:
            self._token_ids[text, seed] = token_batch(
                self.encoder,
                self.text(text).text,
                batch_size=self.preset.batch_size,
                sequence_length=self.preset.sequence_length,
                seed=derive_seed("text", seed),
            )
        return self._token_ids[text, seed]

    def describe(self, name: str) -> str:
        """One line on where the input comes from."""
        kind, (_, _, label) = input_kind(name), name.partition(SEPARATOR)
        said = kind.description.format(model=self.encoder.asset.name if kind.pretrained else "")
        return f"{said}, at {label}" if label else said

    def from_text(self, text: str, seed: int, embed: Callable[[Encoder, Tensor], Tensor]) -> Batch:
        """Hidden states of the encoder over windows of a text."""
        ids = self.token_ids(text, seed)
        words = list(self.encoder.tokenizer.convert_ids_to_tokens(ids.flatten().tolist()))
        batch_size, sequence_length = ids.shape
        return Batch(embed(self.encoder, ids), batch_size, sequence_length, words)

    def normal(self, seed: int, *, hidden_size: int, offset: float = 0.0) -> Batch:
        """N(offset, 1) at the preset's B and S."""
        shape = self.preset.batch_size, self.preset.sequence_length
        return Batch(normal_values(seed, shape[0] * shape[1], hidden_size) + offset, *shape)


class InputsAt(Inputs):
    """The inputs at some of a preset's sizes, with the encoder and the texts of those that they are made from.

    Args:
        of: at the preset's own sizes.
        label: of the sizes.
    """

    def __init__(self, of: Inputs, label: str) -> None:
        super().__init__(of.preset.at(label), of.device, of.models)
        self._of = of

    @property
    def encoder(self) -> Encoder:
        """Theirs."""
        return self._of.encoder

    def text(self, name: str) -> TextAsset:
        """Theirs."""
        return self._of.text(name)


def normal_values(seed: int, tokens: int, hidden_size: int) -> Tensor:
    """Seeded values from N(0, 1), (T, D)."""
    generator = torch.Generator().manual_seed(derive_seed("input", seed))
    return torch.randn(tokens, hidden_size, generator=generator)


@register_input("random", "N(0, 1)", pretrained=False, timed=True, precision=True)
def random(inputs: Inputs, seed: int) -> Batch:
    """Normal values at the preset's sizes."""
    return inputs.normal(seed, hidden_size=inputs.preset.hidden_size)


@register_input(
    "contextual",
    "last hidden states of the encoder ({model}) over Shakespeare",
    text=SHAKESPEARE,
    timed=True,
    precision=True,
)
def contextual(inputs: Inputs, seed: int) -> Batch:
    """What the encoder makes of real text."""
    return inputs.from_text(SHAKESPEARE, seed, contextual_embeddings)


@register_input(
    "in_place",
    "what enters the first feed-forward network of the encoder ({model}), over Shakespeare",
    text=SHAKESPEARE,
    precision=True,
)
def in_place(inputs: Inputs, seed: int) -> Batch:
    """What an MoE layer is given that stands in place of the encoder's first feed-forward network."""
    return inputs.from_text(SHAKESPEARE, seed, feed_forward_inputs)


@register_input("prose", "last hidden states of the encoder ({model}) over this project's documentation", text=PROSE)
def prose(inputs: Inputs, seed: int) -> Batch:
    """What the encoder makes of technical English."""
    return inputs.from_text(PROSE, seed, contextual_embeddings)


@register_input(
    "matched",
    "Gaussian with the mean and standard deviation of each feature of the contextual input",
    text=SHAKESPEARE,
)
def matched(inputs: Inputs, seed: int) -> Batch:
    """A control: what is left of an effect of the contextual input here is no work of the text's structure."""
    like = inputs.batch("contextual", seed).hidden_states.cpu()
    noise = normal_values(seed, *like.shape)
    shape = inputs.preset.batch_size, inputs.preset.sequence_length
    return Batch(like.mean(dim=0) + noise * like.std(dim=0, correction=0), *shape)


@register_input("plain", "N(0, 1) at the width of the encoder ({model})")
def plain(inputs: Inputs, seed: int) -> Batch:
    """A control: random and contextual input are compared at one width."""
    return inputs.normal(seed, hidden_size=inputs.encoder.hidden_size)


@register_input("skewed", "N(1, 1) at the width of the encoder ({model})")
def skewed(inputs: Inputs, seed: int) -> Batch:
    """A common offset, onto which the unconstrained Hadamard router collapses."""
    return inputs.normal(seed, hidden_size=inputs.encoder.hidden_size, offset=1.0)


@register_input("supplemental", "N(0, 1), 32 tokens, D = 64", pretrained=False, own_sizes=True)
def supplemental(inputs: Inputs, seed: int) -> Batch:
    """The setting that was inferred for the paper's supplemental table."""
    return Batch(normal_values(seed, 32, 64), 1, 32)
