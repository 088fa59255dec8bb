"""The routing trace of Megatron-LM: JSON lines, a record for each step, block and layer.

    {"step": 0, "stage": "pre_dispatch", "block": "decoder", "layer": 3, "rank": 0, "num_tokens": 128, "topk": 22,
     "top_indices": [[12, 45, ...], ...]}

Written by `--moe-routing-trace-path` as `router_trace_rank<rank>.jsonl`, a file a rank (NVIDIA/Megatron-LM,
megatron/core/transformer/moe/router_trace.py); layers that predict tokens ahead have an `mtp_idx` too. A layer that has
several records in a step (microbatches) has them one after the other. Files of several ranks hold different tokens. The
log of `--save-tokens-per-experts-interval` has counts without tokens, and is no trace.

Axes: T tokens, L layers, K experts per token.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.formats.nested import to_integers
from reports.traces.formats.read import Candidate, Hints, TraceFormat
from reports.traces.trace import Array, RoutingTrace

Layer = tuple[str, int, int]
"""Block, number among those that predict ahead (−1 of the others), number of the layer."""


def _knows(candidate: Candidate) -> bool:
    return "top_indices" in candidate.first or "tpe" in candidate.first


def _read(candidate: Candidate, hints: Hints) -> RoutingTrace:
    found: dict[Layer, list[tuple[int, Array]]] = {}
    for where, record in candidate.objects():
        if "tpe" in record:
            raise TraceError(
                f"{where}: counts of tokens per expert (tpe) without tokens; expected a trace (top_indices)"
            )
        layer, step, experts = _record(record, where)
        found.setdefault(layer, []).append((step, experts))
    if not found:
        raise TraceError(f"{candidate.name}: no record")
    layers = sorted(found)
    steps = [np.repeat([step for step, _ in found[each]], [len(part) for _, part in found[each]]) for each in layers]
    for layer, of_layer in zip(layers, steps, strict=True):
        if not np.array_equal(of_layer, steps[0]):
            raise TraceError(
                f"{candidate.name}: {_name(layer)} has {len(of_layer):,} tokens in its steps, expected those of "
                f"{_name(layers[0])}, {len(steps[0]):,}: cut off?"
            )
    top_k = found[layers[0]][0][1].shape[1]
    for layer in layers:
        for step, part in found[layer]:
            if part.shape[1] != top_k:
                raise TraceError(
                    f"{candidate.name}: {_name(layer)}, step {step}: K is {part.shape[1]}, expected {top_k}"
                )
    hints.agreed("top_k", top_k, candidate.name)
    hints.agreed("layers", len(layers), candidate.name)
    return RoutingTrace(
        experts=np.stack([np.concatenate([part for _, part in found[each]]) for each in layers], axis=1),
        num_experts=hints.num_experts,
        steps=steps[0],
        layer_names=tuple(map(_name, layers)),
        source=candidate.name,
        empty_slots=hints.empty_slots,
    )


def _record(record: dict[str, Any], where: str) -> tuple[Layer, int, Array]:
    numbers = {each: record.get(each) for each in ("step", "layer", "num_tokens", "topk")}
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise TraceError(f"{where}: {name} is {str(value)[:40]!r}, expected a whole number from 0")
    block, ahead = record.get("block", "decoder"), record.get("mtp_idx", -1)
    if not isinstance(block, str) or not isinstance(ahead, int):
        raise TraceError(f"{where}: block is no string, or mtp_idx no whole number")
    experts = to_integers(record.get("top_indices"), f"{where}: top_indices", ("tokens", "K"))
    if experts.shape != (numbers["num_tokens"], numbers["topk"]):
        raise TraceError(
            f"{where}: top_indices are {experts.shape} (tokens, K), expected num_tokens and topk, "
            f"({numbers['num_tokens']}, {numbers['topk']})"
        )
    return (block, ahead, int(record["layer"])), int(record["step"]), experts


def _name(layer: Layer) -> str:
    block, ahead, number = layer
    return f"{block} {number}" if ahead < 0 else f"{block} {ahead}.{number}"


FORMAT = TraceFormat("megatron", "Megatron-LM's router_trace_rank<rank>.jsonl", _knows, _read)
