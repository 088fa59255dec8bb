"""What the two logs of Megatron-LM share: records of layers, each with its step.

Axes: S rows of all steps (tokens, or microbatches), L layers, N values of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.trace import Array

Layer = tuple[str, int, int]
"""Block, number among those that predict ahead (−1 of the others), number of the layer."""


def name_of(layer: Layer) -> str:
    """`decoder 3`, or `mtp 0.1` of one that predicts ahead."""
    block, ahead, number = layer
    return f"{block} {number}" if ahead < 0 else f"{block} {ahead}.{number}"


def layer_of(record: dict[str, Any], where: str) -> Layer:
    """Whose record it is.

    Raises:
        TraceError: it does not say it.
    """
    block, ahead, number = record.get("block", "decoder"), record.get("mtp_idx", -1), record.get("layer")
    if not isinstance(block, str) or not isinstance(ahead, int):
        raise TraceError(f"{where}: block is no string, or mtp_idx no whole number")
    return block[:60], ahead, whole(number, "layer", where)


def whole(value: Any, name: str, where: str) -> int:
    """A whole number from 0.

    Raises:
        TraceError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise TraceError(f"{where}: {name} is {str(value)[:40]!r}, expected a whole number from 0")
    return value


def side_by_side(
    found: Mapping[Layer, Sequence[tuple[int, Array]]], name: str, rows: str
) -> tuple[Array, Array, tuple[str, ...]]:
    """Layers in order: values (S, L, N), the steps (S,), and the layers' names.

    Args:
        found: layer -> (step, values (rows of the step, N)) of each of its records.
        name: of the file.
        rows: what a row is, for the message.

    Raises:
        TraceError: no record, or layers whose steps have not the same rows.
    """
    if not found:
        raise TraceError(f"{name}: no record")
    layers = sorted(found)
    steps = [np.repeat([step for step, _ in found[each]], [len(part) for _, part in found[each]]) for each in layers]
    for layer, of_layer in zip(layers, steps, strict=True):
        if not np.array_equal(of_layer, steps[0]):
            raise TraceError(
                f"{name}: {name_of(layer)} has {len(of_layer):,} {rows}, expected those of {name_of(layers[0])}, "
                f"{len(steps[0]):,}: cut off?"
            )
    values = np.stack([np.concatenate([part for _, part in found[each]]) for each in layers], axis=1)
    return values, steps[0], tuple(map(name_of, layers))
