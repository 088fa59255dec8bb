"""The routed experts that vLLM returns with `enable_return_routed_experts`: (T, L, K), whole numbers.

Two forms (https://docs.vllm.ai/en/latest/training/routed_experts/, and for what was before
https://docs.vllm.ai/en/v0.21.0/training/routed_experts_replay/):

- `RequestOutput.outputs[0].routed_experts`, an array (T, L, K), saved as npy, as nested lists in JSON, or in an npz
  under `routed_experts` (`prompt_routed_experts` beside it is put before it);
- the response of the OpenAI server as JSON, or responses as JSON lines: `routed_experts` of each choice, and
  `prompt_routed_experts` of the response where there is one, each nested lists, or base64 of an npy array, or an object
  with `data` (base64), `dtype` and `shape`.

A dense layer's place is filled with zeros, which no token of K > 1 experts can have: such layers are left out.

Axes: T tokens, L layers, K experts per token.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.formats.nested import compact, decode_base64, drop_unused_layers, load_npy, to_integers
from reports.traces.formats.read import Candidate, Hints, TraceFormat
from reports.traces.trace import Array, RoutingTrace

FIELD, PROMPT = "routed_experts", "prompt_routed_experts"
_DTYPES = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64")


def _knows(candidate: Candidate) -> bool:
    if candidate.arrays is not None:
        return candidate.suffix == ".npy" or FIELD in candidate.arrays
    if candidate.suffix == ".json" and not candidate.first:
        return isinstance(candidate.document, list)
    choices = candidate.first.get("choices")
    return PROMPT in candidate.first or FIELD in candidate.first or (isinstance(choices, list) and _has_field(choices))


def _has_field(choices: list[Any]) -> bool:
    return any(isinstance(each, dict) and FIELD in each for each in choices)


def _read(candidate: Candidate, hints: Hints) -> RoutingTrace:
    parts = _from_arrays(candidate) if candidate.arrays is not None else _from_responses(candidate)
    for part in parts[1:]:
        if part.shape[1:] != parts[0].shape[1:]:
            raise TraceError(
                f"{candidate.name}: {part.shape[1:]} (layers, K), expected {parts[0].shape[1:]} as in what stands "
                "before"
            )
    experts = parts[0] if len(parts) == 1 else np.concatenate(parts)
    hints.agreed("layers", experts.shape[1], candidate.name)
    hints.agreed("top_k", experts.shape[2], candidate.name)
    experts, names = drop_unused_layers(experts, 0)
    return RoutingTrace(
        experts=experts,
        num_experts=hints.num_experts,
        layer_names=names,
        source=candidate.name,
        empty_slots=hints.empty_slots,
    )


def _from_arrays(candidate: Candidate) -> list[Array]:
    arrays = candidate.arrays
    assert arrays is not None
    names = [""] if candidate.suffix == ".npy" else [each for each in (PROMPT, FIELD) if each in arrays]
    if not names:
        raise TraceError(f"{candidate.name}: no array {FIELD!r}")
    return [_three_axes(arrays[each], f"{candidate.name}: {each}" if each else candidate.name) for each in names]


def _from_responses(candidate: Candidate) -> list[Array]:
    if candidate.suffix == ".json" and isinstance(candidate.document, list) and not candidate.first:
        return [to_integers(candidate.document, candidate.name, ("tokens", "layers", "K"))]
    parts = []
    for where, response in candidate.objects():
        choices = response.get("choices", [response] if FIELD in response else [])
        if not isinstance(choices, list) or not all(isinstance(each, dict) for each in choices):
            raise TraceError(f"{where}: choices are no list of objects")
        found = [(PROMPT, response.get(PROMPT))]
        found += [(f"choices[{number}].{FIELD}", choice.get(FIELD)) for number, choice in enumerate(choices)]
        # An empty list is that of a prompt whose tokens were all in the cache.
        parts += [_decode(value, f"{where}: {field}") for field, value in found if value not in (None, [])]
    if not parts:
        raise TraceError(f"{candidate.name}: no {FIELD}: was the server started with --enable-return-routed-experts?")
    return parts


def _decode(value: Any, where: str) -> Array:
    if isinstance(value, str):
        return _three_axes(load_npy(decode_base64(value, where), where), where)
    if isinstance(value, dict):
        return _of_bytes(value, where)
    return to_integers(value, where, ("tokens", "layers", "K"))


def _of_bytes(value: dict[str, Any], where: str) -> Array:
    data, dtype, shape = (value.get(each) for each in ("data", "dtype", "shape"))
    if not isinstance(data, str) or dtype not in _DTYPES or not isinstance(shape, list) or len(shape) != 3:
        raise TraceError(f"{where}: expected data in base64, a dtype of whole numbers and a shape of three")
    flat = decode_base64(data, where)
    try:
        return np.frombuffer(flat, dtype=dtype).reshape(shape)
    except (ValueError, TypeError, OverflowError):
        raise TraceError(f"{where}: {len(flat):,} bytes, expected a shape {shape} of {dtype}") from None


def _three_axes(values: Any, where: str) -> Array:
    if values.ndim != 3:
        raise TraceError(f"{where}: {tuple(values.shape)}, expected (tokens, layers, K)")
    if not np.issubdtype(values.dtype, np.integer):
        raise TraceError(f"{where}: {values.dtype}, expected whole numbers")
    # An unsigned dtype has no room for the numbers below 0 that arithmetic with it may give.
    return compact(np.asarray(values)) if np.issubdtype(values.dtype, np.unsignedinteger) else np.asanyarray(values)


FORMAT = TraceFormat("vllm", "vLLM's routed_experts (npy, npz, responses as JSON)", _knows, _read, place=1)
