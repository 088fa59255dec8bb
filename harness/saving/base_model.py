"""A sample that identifies the base model of trained routers, whatever its dtype and whatever LoRA is around it."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.replacement.moe_blocks import MoEBlock, find_moe_blocks
from harness.replacement.unwrap import bare_model, bare_state, bare_tensors, unwrap_module

ATTENTION = "self_attn"
"""The name of the attention module beside a block, the same in all families."""
SAMPLES, FEW = 32, 4
"""The number of elements that are sampled from one of the largest tensors, and from any."""
LISTED = 3
"""The number of differing tensors that a message names."""
RELATIVE, ABSOLUTE = 2.0**-7, 2.0**-20
"""The tolerances of a sampled element: a float32 model may be loaded in bfloat16 or float16, which round it."""


def base_model_digest(model: nn.Module) -> dict[str, Any]:
    """Type and sizes of a model and a sample of its weights, as JSON.

    The sample is of tensors that neither LoRA nor the training of routers changes: a few elements of every parameter
    outside the gates (of a quantised layer, of its packed integers); more of the input embeddings, and, of the first
    and of the last block, of the largest tensor of the experts and of the attention beside them. Values are kept rather
    than a hash of them, so that the same base model in another dtype is known again.

    Args:
        model: with Mixture-of-Experts blocks, wrapped or not.

    Raises:
        ValueError: no block, or an unknown family.
    """
    blocks, model = find_moe_blocks(model), bare_model(model)
    config: Any = model.config
    sampled = {"input embeddings": _embeddings(model)}
    for block in (blocks[0], blocks[-1]):
        sampled[f"{block.name}.{block.experts_name}"] = bare_state(block.experts, trained=False)
        layer = block.name.rpartition(".")[0]
        attention = getattr(model.get_submodule(layer), ATTENTION, None)
        if isinstance(attention, nn.Module):
            sampled[f"{layer}.{ATTENTION}".removeprefix(".")] = bare_state(attention, trained=False)
    return {
        "model_type": config.model_type,
        "hidden_size": blocks[0].hidden_size,
        "num_hidden_layers": getattr(config, "num_hidden_layers", None),
        "num_experts": {block.name: block.num_experts for block in blocks},
        "sample": {place: _sample(_largest(state), SAMPLES) for place, state in sampled.items()},
        "tensors": _everywhere(model, blocks),
    }


def base_model_differences(saved: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Where two digests of base models differ, a phrase for each difference."""
    found = [
        f"{name} is {present[name]}, saved with {saved[name]}"
        for name in ("model_type", "hidden_size", "num_hidden_layers")
        if saved[name] != present[name]
    ]
    ours, theirs = present["num_experts"], saved["num_experts"]
    for block in ours | theirs:
        if ours.get(block) != theirs.get(block):
            found.append(f"{block} has {ours.get(block, 'no')} experts, saved with {theirs.get(block, 'no')}")
    samples, saved_samples = present["sample"], saved["sample"]
    found += [f"{place}: not sampled when it was saved" for place in samples if place not in saved_samples]
    for place, before in saved_samples.items():
        now = samples.get(place)
        if now is None:
            found.append(f"{place}: sampled when it was saved, not in the model")
        elif now["shape"] != before["shape"]:
            found.append(f"{place}: shape {now['shape']}, saved with {before['shape']}")
        elif now["values"] is None:
            found.append(f"{place}: on the meta device, without weights")
        elif not _all_close(now["values"], before["values"]):
            found.append(f"{place}: other weights")
    # Routers that an earlier version saved have no sample of every tensor; and one place that differs is enough.
    return found or _differences_anywhere(saved.get("tensors"), present["tensors"])


def _differences_anywhere(saved: Mapping[str, Any] | None, present: Mapping[str, Any]) -> list[str]:
    found = []
    saved = present if saved is None else saved
    for name in {**saved, **present}:
        now, before = present.get(name), saved.get(name)
        if now is None or before is None:
            found.append(f"{name}: {'not in the model' if now is None else 'not sampled when it was saved'}")
        elif now["shape"] != before["shape"]:
            found.append(f"{name}: shape {now['shape']}, saved with {before['shape']}")
        elif now["values"] is None or not _all_close(now["values"], before["values"]):
            found.append(f"{name}: other weights")
    more = len(found) - LISTED
    return found if more <= 0 else [*found[:LISTED], f"and {more} more tensors"]


def _everywhere(model: nn.Module, blocks: Sequence[MoEBlock]) -> dict[str, Any]:
    gates = tuple(f"{block.name}.{block.gate_name}." for block in blocks)
    found: dict[str, Any] = {}
    for path, own in bare_tensors(model, trained=False):
        if own and not path.startswith(gates):
            parameters = {name: tensor for name, tensor in own.items() if isinstance(tensor, nn.Parameter)}
            # A quantised layer has buffers alone; its packed integers are the largest.
            kept: Mapping[str, Tensor] = parameters or {"": _largest(own)}
            found |= {f"{path}{name}".rstrip("."): _sample(tensor, FEW) for name, tensor in kept.items()}
    return found


def _embeddings(model: Any) -> dict[str, Tensor]:
    return bare_state(unwrap_module(model.get_input_embeddings(), trained=False), trained=False)


def _largest(state: Mapping[str, Tensor]) -> Tensor:
    """By size, because a quantised layer's index tensors are the same in every model."""
    return max(state.items(), key=lambda item: (item[1].numel(), item[0]))[1]


def _sample(tensor: Tensor, count: int) -> dict[str, Any]:
    tensor = tensor.detach()
    if tensor.is_meta:
        return {"shape": list(tensor.shape), "values": None}
    # `random()` of a seed is the same in every version of Python, and it needs no generator of torch's.
    draw = random.Random(0)
    drawn = [int(draw.random() * tensor.numel()) for _ in range(count if tensor.numel() else 0)]
    positions = torch.tensor(drawn, dtype=torch.int64, device=tensor.device)
    values = tensor.reshape(-1)[positions]
    if values.is_floating_point():
        values = values.double()
    return {"shape": list(tensor.shape), "values": [_as_json(value) for value in values.tolist()]}


def _as_json(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _all_close(first: Sequence[float | str], second: Sequence[float | str]) -> bool:
    return len(first) == len(second) and all(map(_close, first, second))


def _close(first: float | str, second: float | str) -> bool:
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return first == second
