"""From router logits to probabilities and selected experts, as far as logits alone say it.

Axes: T tokens, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.trace import Array


def softmax(logits: Array) -> Array:
    """(T, E) -> (T, E), rows sum to 1."""
    shifted: Array = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shifted /= shifted.sum(axis=-1, keepdims=True)
    return shifted


def normalised_sigmoid(logits: Array) -> Array:
    """(T, E) -> (T, E): each expert's sigmoid over the sum of the token's, so that rows sum to 1."""
    # Both branches of the quotient are finite for logits of any size.
    small = np.exp(-np.abs(logits))
    scores: Array = np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
    scores /= np.maximum(scores.sum(axis=-1, keepdims=True), np.finfo(scores.dtype).tiny)
    return scores


SELECTIONS: dict[str, Callable[[Array], Array]] = {"softmax": softmax, "sigmoid": normalised_sigmoid}
"""The K largest are selected of each: what a rule does beyond that (a bias, groups) is not in the logits."""


def check_selection(name: str, source: str) -> str:
    """The name, where logits say what was selected by it.

    Raises:
        TraceError: they do not.
    """
    if name not in SELECTIONS:
        raise TraceError(
            f"{source}: the selection {name[:60]!r} cannot be carried out on logits alone, expected "
            f"{' or '.join(SELECTIONS)}; record the selected experts instead"
        )
    return name


def top_k(logits: Array, k: int) -> Array:
    """The K largest of each row, the largest first: (T, E) -> (T, K) of the smallest integer dtype that holds E."""
    number = logits.shape[-1]
    found = (
        np.argpartition(-logits, min(k, number - 1), axis=-1)[:, :k]
        if k < number
        else np.tile(np.arange(number), (len(logits), 1))
    )
    order = np.argsort(-np.take_along_axis(logits, found, axis=-1), axis=-1, kind="stable")
    return np.take_along_axis(found, order, axis=-1).astype(np.min_scalar_type(-number))
