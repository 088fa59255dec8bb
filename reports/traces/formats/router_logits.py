"""Router logits as transformers gives them with `output_router_logits=True`: a tuple of layers, (T, E) each.

Saved as safetensors or npz, an array a layer, with keys such as `layer.0`, `router_logits.0` or
`model.layers.3.mlp.gate`: the last number in a key is the layer's. Or as one array `router_logits` (L, T, E), the tuple
stacked. Logits of a batch, (B, S, E), are taken as B·S tokens. K, which no array says, is `top_k` in the metadata of
safetensors, an array `top_k` of an npz, or `--top-k`.

Axes: T tokens, L layers, E experts, K experts per token, B batch, S sequence.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.formats.containers import Arrays
from reports.traces.formats.read import Candidate, Hints, TraceFormat
from reports.traces.selection import check_selection, top_k
from reports.traces.tokens import SLOTS
from reports.traces.trace import Array, RoutingTrace

_LAYER = re.compile(r"^(?:.*\D)?(\d+)\D*$")
_STACKED = "router_logits"
_BESIDE = {"top_k", "mask", "attention_mask", "domains", "steps", "token_ids", "metadata"}


def _knows(candidate: Candidate) -> bool:
    arrays = candidate.arrays
    names = [] if arrays is None else [each for each in arrays.names if each not in _BESIDE]
    return bool(names) and (names == [_STACKED] or all(re.search("layer|logit|gate|router", each) for each in names))


def _read(candidate: Candidate, hints: Hints) -> RoutingTrace:
    arrays, name = candidate.arrays, candidate.name
    if arrays is None:
        raise TraceError(f"{name}: expected safetensors or npz")
    layers = _layers(arrays, name)
    logits = [_two_axes(values, f"{name}: {label}") for label, values in layers.items()]
    for label, values in zip(layers, logits, strict=True):
        if values.shape != logits[0].shape:
            raise TraceError(
                f"{name}: layer {label} is {tuple(values.shape)} (tokens, experts), expected {tuple(logits[0].shape)} "
                f"as layer {next(iter(layers))}"
            )
    experts = logits[0].shape[1]
    hints.agreed("num_experts", experts, name)
    hints.agreed("layers", len(layers), name)
    k = hints.agreed("top_k", _top_k(arrays, name), name)
    if k is None:
        raise TraceError(f"{name}: logits do not say how many experts a token selects, --top-k does")
    if not 1 <= k <= experts:
        raise TraceError(f"{name}: top_k is {k}, expected 1 to the number of experts, {experts}")
    selection = check_selection(hints.selection or arrays.metadata.get("selection", "softmax"), name)
    mask = arrays.get("mask") if "mask" in arrays else arrays.get("attention_mask")
    return RoutingTrace(
        experts=_selected(logits, k, name, list(layers)),
        num_experts=experts,
        logits=logits,
        selection=selection,
        mask=None if mask is None else np.asarray(mask).reshape(-1),
        domains=arrays.get("domains"),
        steps=arrays.get("steps"),
        token_ids=arrays.get("token_ids"),
        layer_names=tuple(layers),
        source=name,
    )


def _layers(arrays: Arrays, name: str) -> dict[str, Any]:
    """Number of the layer -> its logits, in order."""
    if _STACKED in arrays:
        stacked = arrays[_STACKED]
        if stacked.ndim not in (3, 4):
            raise TraceError(f"{name}: {_STACKED} is {stacked.shape}, expected (layers, tokens, experts)")
        return {str(layer): stacked[layer] for layer in range(stacked.shape[0])}
    numbers: dict[int, str] = {}
    for key in arrays.names:
        if key in _BESIDE:
            continue
        match = _LAYER.match(key)
        if match is None:
            raise TraceError(f"{name}: array {key[:60]!r}, expected a layer's number in the name")
        if (number := int(match[1])) in numbers:
            raise TraceError(f"{name}: arrays {numbers[number][:60]!r} and {key[:60]!r} are of one layer, {number}")
        numbers[number] = key
    if not numbers:
        raise TraceError(f"{name}: no array of logits")
    return {str(number): arrays[numbers[number]] for number in sorted(numbers)}


def _two_axes(values: Any, where: str) -> Any:
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise TraceError(f"{where}: {tuple(values.shape)}, expected logits (tokens, experts)")
    if not np.issubdtype(values.dtype, np.floating):
        raise TraceError(f"{where}: {values.dtype}, expected logits in floating point")
    return values if values.ndim == 2 else values.reshape(-1, values.shape[-1])


def _top_k(arrays: Arrays, name: str) -> int | None:
    if "top_k" in arrays:
        found = np.asarray(arrays["top_k"])
        if found.size != 1 or not np.issubdtype(found.dtype, np.integer):
            raise TraceError(f"{name}: top_k is {found.dtype} {found.shape}, expected one whole number")
        return int(found.reshape(-1)[0])
    text = arrays.metadata.get("top_k")
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 9:
        raise TraceError(f"{name}: top_k is {text[:20]!r}, expected a whole number")
    return int(text)


def _selected(logits: list[Any], k: int, name: str, labels: list[str]) -> Array:
    tokens, experts = logits[0].shape
    found = np.empty((tokens, len(logits), k), dtype=np.min_scalar_type(-experts))
    size = max(1, SLOTS // experts)
    for layer, values in enumerate(logits):
        for first in range(0, tokens, size):
            some = np.asarray(values[first : first + size], dtype=np.float32)
            if np.isnan(some).any():
                token = first + int(np.nonzero(np.isnan(some))[0][0])
                raise TraceError(f"{name}: token {token}, layer {labels[layer]}: logit nan, expected finite numbers")
            found[first : first + size, layer] = top_k(some, k)
    return found


FORMAT = TraceFormat("logits", "router logits of transformers (safetensors, npz)", _knows, _read, place=2)
