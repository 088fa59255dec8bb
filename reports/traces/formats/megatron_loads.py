"""The log of tokens per expert of Megatron-LM: JSON lines, a record for each iteration, block and layer.

    {"iter": 100, "block": "decoder", "layer": 3, "tpe": [[128, 64], [96, 80]]}
    {"iter": 100, "block": "mtp", "mtp_idx": 0, "layer": 1, "tpe": [[50, 50], [48, 52]]}

Written by `--save-tokens-per-experts-interval` as `tokens_per_expert/rank<rank>.jsonl` (NVIDIA/Megatron-LM,
megatron/training/activation_logging.py): `tpe` has a list for each microbatch, the tokens of each expert of that rank.
Files of several ranks are taken as expert-parallel ranks: their experts stand side by side.

Axes: S microbatches of all iterations, L layers, E experts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.formats.nested import to_integers
from reports.traces.formats.read import Candidate, Hints, TraceFormat
from reports.traces.loads import LoadTrace
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


def _knows(candidate: Candidate) -> bool:
    return "tpe" in candidate.first


def _read(candidate: Candidate, hints: Hints) -> LoadTrace:
    found: dict[Layer, list[tuple[int, Array]]] = {}
    for where, record in candidate.objects():
        counts = to_integers(record.get("tpe"), f"{where}: tpe", ("microbatches", "experts"))
        layer, step = layer_of(record, where), whole(record.get("iter"), "iter", where)
        found.setdefault(layer, []).append((step, counts))
        experts = next(iter(found.values()))[0][1].shape[1]
        if counts.shape[1] != experts:
            raise TraceError(f"{where}: {counts.shape[1]} experts, expected {experts} as in the first line")
    if not found:
        raise TraceError(f"{candidate.name}: no record")
    layers = sorted(found)
    steps = [np.repeat([step for step, _ in found[each]], [len(some) for _, some in found[each]]) for each in layers]
    for layer, of_layer in zip(layers, steps, strict=True):
        if not np.array_equal(of_layer, steps[0]):
            raise TraceError(
                f"{candidate.name}: {name_of(layer)} has {len(of_layer):,} microbatches in its iterations, expected "
                f"those of {name_of(layers[0])}, {len(steps[0]):,}: cut off?"
            )
    hints.agreed("layers", len(layers), candidate.name)
    load = np.stack([np.concatenate([some for _, some in found[each]]) for each in layers], axis=1)
    return LoadTrace(load.astype(np.int64), steps[0], tuple(map(name_of, layers)), candidate.name)


FORMAT = TraceFormat("megatron-loads", "Megatron-LM's tokens_per_expert/rank<rank>.jsonl", _knows, _read)
