"""The routed experts that SGLang returns: `meta_info.routed_experts` of a response, int32 in base64, flat.

The server runs with `--enable-return-routed-experts`, the request asks with `return_routed_experts`. The numbers are
ordered by token, layer and slot, (T, L, K), −1 where a layer has no experts (sgl-project/sglang-jax,
docs/features/return_routed_experts.md, which follows SGLang's design). Neither L nor K is in the response: `--top-k`
says K, and L follows from the tokens that the response counts, prompt and completion but for the last, or is
`--layers`.

Responses as JSON, one or a list, or as JSON lines. Axes: T tokens, L layers, K experts per token.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.formats.nested import decode_base64, drop_unused_layers
from reports.traces.formats.read import Candidate, Hints, TraceFormat
from reports.traces.trace import NO_EXPERT, Array, RoutingTrace


def _knows(candidate: Candidate) -> bool:
    meta = candidate.first.get("meta_info")
    return isinstance(meta, dict) and "routed_experts" in meta


def _read(candidate: Candidate, hints: Hints) -> RoutingTrace:
    if hints.top_k is None:
        raise TraceError(f"{candidate.name}: SGLang does not say how many experts a token selects, --top-k does")
    parts = [_response(where, response, hints, hints.top_k) for where, response in candidate.objects()]
    if not parts:
        raise TraceError(f"{candidate.name}: no response")
    for part in parts[1:]:
        if part.shape[1] != parts[0].shape[1]:
            raise TraceError(f"{candidate.name}: {part.shape[1]} layers, expected {parts[0].shape[1]} as in the first")
    experts, names = drop_unused_layers(np.concatenate(parts), NO_EXPERT)
    return RoutingTrace(
        experts=experts,
        num_experts=hints.num_experts,
        layer_names=names,
        source=candidate.name,
        empty_slots=hints.empty_slots,
    )


def _response(where: str, response: dict[str, Any], hints: Hints, top_k: int) -> Array:
    meta = response.get("meta_info")
    text = meta.get("routed_experts") if isinstance(meta, dict) else None
    if not isinstance(meta, dict) or not isinstance(text, str):
        raise TraceError(
            f"{where}: meta_info.routed_experts is no string: was it asked for with return_routed_experts?"
        )
    data = decode_base64(text, f"{where}: meta_info.routed_experts")
    if not data or len(data) % 4:
        raise TraceError(f"{where}: meta_info.routed_experts has {len(data):,} bytes, expected int32, four a number")
    flat = np.frombuffer(data, dtype="<i4")
    layers = hints.layers or _layers(meta, flat.size, top_k, where)
    if top_k < 1 or layers < 1 or flat.size % (layers * top_k):
        raise TraceError(f"{where}: {flat.size:,} numbers, expected a multiple of {layers} layers × K = {top_k}")
    return flat.reshape(-1, layers, top_k)


def _layers(meta: dict[str, Any], size: int, top_k: int, where: str) -> int:
    counts = [meta.get(each) for each in ("prompt_tokens", "completion_tokens")]
    # The last token that was generated was fed to no pass.
    tokens = sum(each for each in counts if isinstance(each, int)) - 1
    if None in counts or tokens < 1 or top_k < 1 or size % (tokens * top_k):
        raise TraceError(f"{where}: how many layers {size:,} numbers are of cannot be told, --layers does")
    return size // (tokens * top_k)


FORMAT = TraceFormat("sglang", "SGLang's meta_info.routed_experts (responses as JSON)", _knows, _read)
