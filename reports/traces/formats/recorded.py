"""What `harness.record_routing` writes: safetensors, or the same arrays as npz.

Axes: T tokens, L layers, E experts, K experts per token.

Arrays: `experts` (T, L, K); where they are, `weights` (T, L, K), `logits.<layer>` (T, E), `mask` (T,), `domains` (T,)
numbers of the names in the metadata, `steps` (T,), `token_ids` (T,). Metadata: `format`, `version`, `num_experts`,
`layer_names`, `domains`, `selection`, `empty_slots`; lists as JSON. An npz holds the metadata as one string, a JSON
object, in an array `metadata`.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from reports.format.escape import one_line, shorten
from reports.traces.errors import TraceError
from reports.traces.formats.containers import Arrays
from reports.traces.formats.read import Candidate, Hints, TraceFormat
from reports.traces.selection import check_selection
from reports.traces.trace import Array, RoutingTrace

KIND = "moe-router-bench/routing-trace"
VERSION = "1"


def _knows(candidate: Candidate) -> bool:
    return candidate.arrays is not None and candidate.arrays.metadata.get("format") == KIND


def _read(candidate: Candidate, hints: Hints) -> RoutingTrace:
    arrays, name = candidate.arrays, candidate.name
    if arrays is None or arrays.metadata.get("format") != KIND:
        raise TraceError(f"{name}: metadata says no format {KIND!r}")
    metadata = arrays.metadata
    if metadata.get("version") != VERSION:
        raise TraceError(f"{name}: version {metadata.get('version', '')[:20]!r}, expected {VERSION!r}")
    if "experts" not in arrays:
        raise TraceError(f"{name}: no array 'experts'")
    experts = arrays["experts"]
    layer_names = _list(metadata, "layer_names", name)
    logits = [f"logits.{layer}" for layer in range(len(layer_names)) if f"logits.{layer}" in arrays]
    if logits and len(logits) != len(layer_names):
        raise TraceError(f"{name}: logits of {len(logits)} of {len(layer_names)} layers, expected all or none")
    trace = RoutingTrace(
        experts=experts,
        num_experts=hints.agreed("num_experts", _number(metadata, name), name),
        weights=arrays.get("weights"),
        logits=[arrays[each] for each in logits] or None,
        selection=check_selection(metadata.get("selection", "softmax"), name),
        mask=arrays.get("mask"),
        domains=_labels(arrays, name),
        steps=arrays.get("steps"),
        token_ids=arrays.get("token_ids"),
        layer_names=tuple(layer_names),
        source=name,
        empty_slots=hints.empty_slots or metadata.get("empty_slots") == "true",
    )
    hints.agreed("top_k", trace.top_k, name)
    hints.agreed("layers", trace.num_layers, name)
    return trace


def _number(metadata: dict[str, str], name: str) -> int:
    text = metadata.get("num_experts", "")
    if not text.isdecimal() or not 0 < int(text[:9]) <= 10**6:
        raise TraceError(f"{name}: num_experts is {text[:20]!r}, expected a number from 1")
    return int(text)


def _list(metadata: dict[str, str], key: str, name: str) -> list[str]:
    try:
        found: Any = json.loads(metadata.get(key, "[]"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise TraceError(f"{name}: {key} in the metadata is no list of strings")
    return [shorten(one_line(each), 120) for each in found]


def _labels(arrays: Arrays, name: str) -> Array | None:
    places = arrays.get("domains")
    if places is None:
        return None
    names = np.array(_list(arrays.metadata, "domains", name), dtype=str)
    places = np.asarray(places)
    if not np.issubdtype(places.dtype, np.integer) or (
        places.size and not 0 <= places.min() <= places.max() < len(names)
    ):
        raise TraceError(f"{name}: domains hold a number that none of the {len(names)} names in the metadata has")
    return np.asarray(names[places])


FORMAT = TraceFormat("recorded", "harness.record_routing (safetensors, npz)", _knows, _read)
