"""The routing trace of Megatron-LM: JSON lines, a record for each step, block and layer.

    {"step": 0, "stage": "pre_dispatch", "block": "decoder", "layer": 3, "rank": 0, "num_tokens": 128, "topk": 22,
     "top_indices": [[12, 45, ...], ...]}

Written by `--moe-routing-trace-path` as `router_trace_rank<rank>.jsonl`, a file a rank (NVIDIA/Megatron-LM,
megatron/core/transformer/moe/router_trace.py); layers that predict tokens ahead have an `mtp_idx` too. A layer that has
several records in a step (microbatches) has them one after the other. Files of several ranks hold different tokens.

Axes: T tokens, L layers, K experts per token.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.formats.megatron_loads import Layer, layer_of, name_of, whole
from reports.traces.formats.nested import to_integers
from reports.traces.formats.read import Candidate, Hints, TraceFormat
from reports.traces.trace import Array, RoutingTrace


def _knows(candidate: Candidate) -> bool:
    return "top_indices" in candidate.first


def _read(candidate: Candidate, hints: Hints) -> RoutingTrace:
    found: dict[Layer, list[tuple[int, Array]]] = {}
    for where, record in candidate.objects():
        layer, step, experts = _record(record, where)
        found.setdefault(layer, []).append((step, experts))
    if not found:
        raise TraceError(f"{candidate.name}: no record")
    layers = sorted(found)
    steps = [np.repeat([step for step, _ in found[each]], [len(part) for _, part in found[each]]) for each in layers]
    for layer, of_layer in zip(layers, steps, strict=True):
        if not np.array_equal(of_layer, steps[0]):
            raise TraceError(
                f"{candidate.name}: {name_of(layer)} has {len(of_layer):,} tokens in its steps, expected those of "
                f"{name_of(layers[0])}, {len(steps[0]):,}: cut off?"
            )
    top_k = found[layers[0]][0][1].shape[1]
    for layer in layers:
        for step, part in found[layer]:
            if part.shape[1] != top_k:
                raise TraceError(
                    f"{candidate.name}: {name_of(layer)}, step {step}: K is {part.shape[1]}, expected {top_k}"
                )
    hints.agreed("top_k", top_k, candidate.name)
    hints.agreed("layers", len(layers), candidate.name)
    return RoutingTrace(
        experts=np.stack([np.concatenate([part for _, part in found[each]]) for each in layers], axis=1),
        num_experts=hints.num_experts,
        steps=steps[0],
        layer_names=tuple(map(name_of, layers)),
        source=candidate.name,
        empty_slots=hints.empty_slots,
    )


def _record(record: dict[str, Any], where: str) -> tuple[Layer, int, Array]:
    step, tokens, top_k = (whole(record.get(each), each, where) for each in ("step", "num_tokens", "topk"))
    experts = to_integers(record.get("top_indices"), f"{where}: top_indices", ("tokens", "K"))
    if experts.shape != (tokens, top_k):
        raise TraceError(
            f"{where}: top_indices are {experts.shape} (tokens, K), expected num_tokens and topk, ({tokens}, {top_k})"
        )
    return layer_of(record, where), step, experts


FORMAT = TraceFormat("megatron", "Megatron-LM's router_trace_rank<rank>.jsonl", _knows, _read)
