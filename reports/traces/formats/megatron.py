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

from reports.traces.errors import TraceError
from reports.traces.formats.megatron_layers import Layer, layer_of, name_of, side_by_side, whole
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
    _expect_one_width(found, candidate.name)
    experts, steps, names = side_by_side(found, candidate.name, "tokens in its steps")
    hints.agreed("top_k", experts.shape[2], candidate.name)
    hints.agreed("layers", len(names), candidate.name)
    return RoutingTrace(
        experts=experts,
        num_experts=hints.num_experts,
        steps=steps,
        layer_names=names,
        source=candidate.name,
        empty_slots=hints.empty_slots,
    )


def _expect_one_width(found: dict[Layer, list[tuple[int, Array]]], name: str) -> None:
    """Refuse records of different K."""
    widths = [(layer, step, part.shape[1]) for layer in sorted(found) for step, part in found[layer]]
    for layer, step, width in widths:
        if width != widths[0][2]:
            raise TraceError(f"{name}: {name_of(layer)}, step {step}: K is {width}, expected {widths[0][2]}")


def _record(record: dict[str, Any], where: str) -> tuple[Layer, int, Array]:
    step, tokens, top_k = (whole(record.get(each), each, where) for each in ("step", "num_tokens", "topk"))
    experts = to_integers(record.get("top_indices"), f"{where}: top_indices", ("tokens", "K"))
    if experts.shape != (tokens, top_k):
        raise TraceError(
            f"{where}: top_indices are {experts.shape} (tokens, K), expected num_tokens and topk, ({tokens}, {top_k})"
        )
    return layer_of(record, where), step, experts


FORMAT = TraceFormat("megatron", "Megatron-LM's router_trace_rank<rank>.jsonl", _knows, _read)
