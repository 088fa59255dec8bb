"""The works of a preset by the names of inputs, one of them with its weights in memory at a time. Axes: T tokens."""

from __future__ import annotations

from collections.abc import Hashable

from torch import Tensor

from bench.peers.catalogue import WorkKind, get_work
from bench.peers.work import Work, WorkSizes
from bench.presets import Preset
from bench.sizes import DTYPES, SEPARATOR


class Works:
    """Makes works.

    Args:
        preset: with the sizes that inputs name.
        device: of the weights.
    """

    def __init__(self, preset: Preset, device: str) -> None:
        self._preset = preset
        self._device = device
        self._made: tuple[Hashable, Work] | None = None

    def kind(self, input_name: str) -> WorkKind:
        """The kind of an input's work: of `layer_small@T64` that of `layer_small`."""
        return get_work(input_name.partition(SEPARATOR)[0])

    def preset(self, input_name: str) -> Preset:
        """The preset at an input's sizes: its tokens and dtype count, a work has sizes of its own."""
        return self._preset.at(input_name.partition(SEPARATOR)[2])

    def sizes(self, input_name: str) -> WorkSizes:
        """Of an input's work."""
        label, kind = input_name.partition(SEPARATOR)[2], self.kind(input_name)
        asked = next((sizes for sizes in self._preset.sizes if sizes.label == label), None)
        return kind.sizes if asked is None else kind.sizes_at(asked)

    def num_tokens(self, input_name: str) -> int:
        """T."""
        at = self.preset(input_name)
        return at.batch_size * at.sequence_length

    def work(self, input_name: str) -> Work:
        """With its weights; those of another are let go."""
        kind, sizes, dtype = self.kind(input_name), self.sizes(input_name), self.preset(input_name).dtype
        key = kind.family, sizes, dtype
        if self._made is None or self._made[0] != key:
            self.forget()
            self._made = key, kind.make(sizes, self._device, DTYPES[dtype])
        return self._made[1]

    def tokens(self, input_name: str) -> Tensor:
        """The hidden states (T, D) that are timed."""
        return self.work(input_name).draw(self.num_tokens(input_name))

    def forget(self) -> None:
        """Let the weights go."""
        self._made = None
