"""The log of tokens per expert of Megatron-LM: JSON lines, a record for each iteration, block and layer.

    {"iter": 100, "block": "decoder", "layer": 3, "tpe": [[128, 64], [96, 80]]}
    {"iter": 100, "block": "mtp", "mtp_idx": 0, "layer": 1, "tpe": [[50, 50], [48, 52]]}

Written by `--save-tokens-per-experts-interval` as `tokens_per_expert/rank<rank>.jsonl` (NVIDIA/Megatron-LM,
megatron/training/activation_logging.py): `tpe` has a list for each microbatch, the tokens of each expert of that rank.
Files of several ranks are taken as expert-parallel ranks: their experts stand side by side.

Axes: S microbatches of all iterations, L layers, E experts.
"""

from __future__ import annotations

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.formats.megatron_layers import Layer, layer_of, side_by_side, whole
from reports.traces.formats.nested import to_integers
from reports.traces.formats.read import Candidate, Hints, TraceFormat
from reports.traces.loads import LoadTrace
from reports.traces.trace import Array


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
    load, steps, names = side_by_side(found, candidate.name, "microbatches in its iterations")
    hints.agreed("layers", len(names), candidate.name)
    return LoadTrace(load.astype(np.int64), steps, names, candidate.name)


FORMAT = TraceFormat("megatron-loads", "Megatron-LM's tokens_per_expert/rank<rank>.jsonl", _knows, _read)
