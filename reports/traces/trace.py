"""The common record of a routing trace, whatever wrote it.

Axes: T tokens, L layers, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from reports.traces.errors import TraceError

Array = npt.NDArray[Any]
MOST_LAYERS = MOST_EXPERTS = 4096
"""More than any model has: what says so has its axes in another order, or holds no experts."""
_KINDS = {
    "mask": ("biu", "true or false"),
    "domains": ("UOSiub", "labels"),
    "steps": ("iu", "whole numbers"),
    "token_ids": ("iu", "whole numbers"),
}
"""Kinds of dtypes that a field may have, and what they are in words."""
NO_EXPERT = -1
"""Stands in a slot that has no expert, in a trace whose slots may be empty."""


class Rows(Protocol):
    """An array (T, E) that gives some of its rows at a time, such as a memory map."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, E)."""

    def __getitem__(self, rows: slice) -> Array:
        """Some rows."""


@dataclass(frozen=True, eq=False)
class RoutingTrace:
    """Which experts each token was sent to, layer by layer. Arrays may be memory maps: they are read piece by piece.

    Values are checked where they are read, by `analyse`; here shapes and dtypes are.

    Attributes:
        experts: (T, L, K) of any integer dtype, each token's experts, the heaviest first.
        num_experts: E; None where the file does not say it: one more than the largest that occurs.
        weights: (T, L, K) routing weights, or None.
        logits: router logits: (T, L, E), or (T, E) for each of L layers, or None.
        selection: how logits become probabilities: a name of `reports.traces.selection.SELECTIONS`.
        mask: (T,), which tokens count (not padding); None where all do.
        domains: (T,) labels of what each token belongs to, such as a language, or None.
        steps: (T,) whole numbers, when each token was routed (a training step), or None.
        token_ids: (T,) of the vocabulary, by which two traces are known to be of the same text, or None.
        layer_names: of each layer; numbers from 0 unless given.
        source: the name of the file, for messages and for the page.
        empty_slots: a slot may hold −1, no expert, as under a rule that adapts the number of experts.

    Raises:
        TraceError: shapes disagree, or a dtype is wrong.
    """

    experts: Array
    num_experts: int | None = None
    weights: Array | None = None
    logits: Sequence[Rows] | None = None
    selection: str = "softmax"
    mask: Array | None = None
    domains: Array | None = None
    steps: Array | None = None
    token_ids: Array | None = None
    layer_names: tuple[str, ...] = ()
    source: str = "the trace"
    empty_slots: bool = False

    def __post_init__(self) -> None:
        experts = self.experts
        if getattr(experts, "ndim", None) != 3:
            self._refuse(f"experts are {_form(experts)}, expected (tokens, layers, K)")
        if not np.issubdtype(experts.dtype, np.integer):
            self._refuse(f"experts are {experts.dtype}, expected whole numbers")
        if not all(experts.shape):
            self._refuse(f"experts are {experts.shape} (tokens, layers, K), which is empty")
        tokens, layers, top_k = experts.shape
        if layers > MOST_LAYERS:
            self._refuse(f"{layers:,} layers, expected at most {MOST_LAYERS:,} in (tokens, layers, K)")
        if self.num_experts is not None and self.num_experts > MOST_EXPERTS:
            self._refuse(f"{self.num_experts:,} experts, expected at most {MOST_EXPERTS:,}")
        if self.num_experts is not None and self.num_experts < top_k:
            self._refuse(f"K is {top_k}, expected at most the number of experts, {self.num_experts}")
        if self.logits is not None:
            logits = self.logits
            if isinstance(logits, np.ndarray):
                logits = [logits[:, layer] for layer in range(logits.shape[1])] if logits.ndim == 3 else [logits]
            object.__setattr__(self, "logits", tuple(logits))
        object.__setattr__(self, "layer_names", tuple(self.layer_names) or tuple(map(str, range(layers))))
        if len(self.layer_names) != layers:
            self._refuse(f"there are {len(self.layer_names)} names of layers, expected {layers}")
        if self.weights is not None and self.weights.shape != experts.shape:
            self._refuse(f"weights are {self.weights.shape}, expected those of the experts, {experts.shape}")
        for name in ("mask", "domains", "steps", "token_ids"):
            if (values := getattr(self, name)) is not None:
                values = np.asarray(values)
                if values.shape != (tokens,):
                    self._refuse(f"{name} has the shape {values.shape}, expected ({tokens},), one value a token")
                kinds, expected = _KINDS[name]
                if values.dtype.kind not in kinds:
                    self._refuse(f"{name} is {values.dtype}, expected {expected}")
                object.__setattr__(self, name, values)
        self._check_logits(tokens, layers, top_k)

    def _check_logits(self, tokens: int, layers: int, top_k: int) -> None:
        if self.logits is None:
            return
        if len(self.logits) != layers:
            self._refuse(f"logits are of {len(self.logits)} layers, experts of {layers}")
        first = self.logits[0].shape
        expected = (tokens, self.num_experts or (first[1] if len(first) == 2 else top_k))
        for name, layer in zip(self.layer_names, self.logits, strict=True):
            if tuple(layer.shape) != expected:
                self._refuse(f"logits of layer {name} are {tuple(layer.shape)}, expected (tokens, experts), {expected}")
        if self.num_experts is None:
            object.__setattr__(self, "num_experts", int(expected[1]))

    def _refuse(self, reason: str) -> None:
        raise TraceError(f"{self.source}: {reason}")

    @property
    def num_tokens(self) -> int:
        """T, those that do not count too."""
        return int(self.experts.shape[0])

    @property
    def num_layers(self) -> int:
        """L."""
        return int(self.experts.shape[1])

    @property
    def top_k(self) -> int:
        """K."""
        return int(self.experts.shape[2])


def _form(value: Any) -> str:
    return str(getattr(value, "shape", type(value).__name__))
