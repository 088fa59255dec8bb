"""Routers on disk: a safetensors file and a JSON file that says what made them, in which model, and checks itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.assets.files import alone_in
from harness.replacement.injection import Replacement, gate_device, make_gate, refuse_replaced
from harness.replacement.moe_blocks import MoEBlock, find_moe_blocks
from harness.replacement.router_config import RouterConfig, is_same_class
from harness.replacement.router_gate import GateSwap, RouterGate
from harness.replacement.unwrap import bare_state, unwrap_module
from harness.saving.base_model import base_model_differences, base_model_digest
from harness.saving.differences import nan_parameters, tensor_differences
from harness.saving.files import (
    CONFIG,
    SavedRoutersError,
    as_one_line,
    read_router_files,
    write_router_files,
)

_OPTIONS = "options"
_SHARED = "same_as"
"""The key under which a block that shares a router has the path of the block that describes it."""


def save_routers(routers: Replacement | nn.Module, directory: str | Path) -> None:
    """Write all replaced routers of a model: names, options, and their whole state, trained or not.

    What is there before stays whole until the new files are, and they take its place in one step; of two savings into
    one directory the second waits for the first. The state is that of the routers themselves: LoRA on one of their
    layers is an adapter's, see `harness.saving.adapters`.

    Args:
        routers: the replacement, or the model that holds it, wrapped by PEFT or not.
        directory: made where it is missing; gets routers.json and routers.safetensors (routers.2.safetensors every
            other time that a directory is written again).

    Raises:
        ValueError: as `describe_routers`; nothing is written then.
        OSError: the directory cannot be written.
    """
    content, tensors = describe_routers(routers)
    directory = Path(directory)
    with alone_in(directory):
        write_router_files(directory, content, tensors)


def describe_routers(routers: Replacement | nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description of a model's replaced routers that `write_router_files` takes: content and tensors.

    `companions` of the content is for files beside: name -> SHA-256.

    Raises:
        ValueError: no router was replaced, one cannot be written (an option that is not JSON, no values, NaN), an
            adapter is merged into the model, or its base model has no values to be known by.
    """
    model = routers.model if isinstance(routers, Replacement) else routers
    gates = router_gates(model)
    if not gates:
        raise ValueError(f"{type(model).__name__} has none of our routers to save; replace_routers puts them in")
    layers: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    path_of: dict[int, str] = {}
    for path, gate in gates.items():
        first = path_of.setdefault(id(gate), path)
        layers[path] = {_SHARED: first} if first != path else _describe(path, gate, tensors)
    base_model = base_model_digest(model)
    samples = base_model["sample"] | base_model["tensors"]
    if empty := [place for place, sample in samples.items() if sample["values"] is None]:
        raise ValueError(f"{empty[0]}: has no values (meta device), so the model could not be known again")
    return {"model": base_model, "layers": layers, "companions": {}}, tensors


def load_routers(model: nn.Module, directory: str | Path) -> Replacement:
    """Put saved routers into a model, as they were: every output is the same, bit for bit.

    Keys, shapes, dtypes, the routers' classes and the digest of the base model are checked before anything is changed.

    Args:
        model: the one that they were saved from, or that model loaded anew; in another dtype too.
        directory: as `save_routers` wrote it.

    Raises:
        SavedRoutersError: the files are damaged, foreign or pickled, or do not fit; one line with every difference.
        ValueError: no block, an unknown family, or routers that were replaced already.
    """
    blocks = {f"{block.name}.{block.gate_name}": block for block in find_moe_blocks(model)}
    for block in blocks.values():
        refuse_replaced(block)
    content, tensors = read_router_files(Path(directory))
    base_model = base_model_digest(model)
    with as_one_line(Path(directory) / CONFIG):
        differences = base_model_differences(content["model"], base_model)
        gates: dict[str, RouterGate] = {}
        for path, layer in content["layers"].items():
            owner = _owner(content, path)
            if path not in blocks:
                differences.append(f"{path}: not in the model")
            elif found := _other_sizes(path, content["layers"][owner], blocks[path]):
                differences += found  # before a router of whatever size is made
            elif owner == path:
                try:
                    gates[path] = _make(path, layer, blocks[path], tensors)
                except SavedRoutersError as error:
                    differences.append(str(error))
        if differences:
            raise SavedRoutersError(f"{directory}: does not fit the model: {'; '.join(differences)}")
        owners = {path: gates[_owner(content, path)] for path in content["layers"]}
    return Replacement(model, [GateSwap(blocks[path], blocks[path].gate, gate) for path, gate in owners.items()])


def saved_differences(model: nn.Module, directory: Path) -> list[str]:
    """Where the routers that are in a model are not those that were saved, a phrase for each difference.

    Args:
        model: with routers, wrapped by PEFT or not.
        directory: as `save_routers` wrote it.

    Raises:
        SavedRoutersError: the files are damaged, foreign or pickled.
    """
    content, tensors = read_router_files(directory)
    base_model, gates = base_model_digest(model), router_gates(model)
    with as_one_line(directory / CONFIG):
        differences = base_model_differences(content["model"], base_model)
        for path in sorted(gates.keys() ^ content["layers"].keys()):
            differences.append(f"{path}: {'not saved' if path in gates else 'not replaced in the model'}")
        for path, gate in gates.items():
            if path in content["layers"]:
                differences += _gate_differences(path, gate, _owner(content, path), content, tensors)
    return differences


def _gate_differences(
    path: str, gate: RouterGate, owner: str, content: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> list[str]:
    layer = content["layers"][owner]
    described = json.loads(json.dumps(gate.router_config.to_json() | {"scaling": gate.scaling}))
    differences = [
        f"{path}: {key} is {described[key]}, saved with {layer[key]}"
        for key in described
        if described[key] != layer[key] and not (key == "class" and is_same_class(described[key], layer[key]))
    ]
    state, options = _apart(_of_layer(tensors, owner))
    differences += tensor_differences(path, bare_state(gate), state, values=True)
    return differences + tensor_differences(f"{path}.{_OPTIONS}", gate.router_config.tensors(), options, values=True)


def router_gates(model: nn.Module) -> dict[str, RouterGate]:
    """Path -> our gate there, the trained one where an adapter keeps a copy; of a model that PEFT wrapped or not."""
    found = {}
    for block in find_moe_blocks(model):
        gate = unwrap_module(block.gate, trained=True)
        if isinstance(gate, RouterGate):
            found[f"{block.name}.{block.gate_name}"] = gate
    return found


def _describe(path: str, gate: RouterGate, tensors: dict[str, Tensor]) -> dict[str, Any]:
    state, expected = bare_state(gate), gate.router_config.make_aside()
    known = {f"router.{name}" for name in expected.state_dict()} | {f"form.{name}" for name in gate.form.state_dict()}
    if unknown := state.keys() ^ known:
        raise ValueError(f"{path}: cannot be saved, its state is not that of its class: {', '.join(sorted(unknown))}")
    if empty := [name for name, tensor in state.items() if tensor.is_meta]:
        raise ValueError(f"{path}: cannot be saved, {empty[0]} has no values (meta device)")
    if wrong := nan_parameters(path, state, {f"router.{name}" for name, _ in expected.named_parameters()}):
        raise ValueError(f"{wrong[0]}, which could not be loaded again")
    for name, tensor in state.items():
        tensors[f"{path}.{name}"] = tensor
    for name, tensor in gate.router_config.tensors().items():
        tensors[f"{path}.{_OPTIONS}.{name}"] = tensor
    return gate.router_config.to_json() | {"scaling": gate.scaling, "dtype": _dtype_of(gate.router)}


def _dtype_of(router: nn.Module) -> str | None:
    """The one dtype of its floating tensors, those that are not saved too; None where it has none, or several."""
    both = (*router.parameters(), *router.buffers())
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in both if tensor.is_floating_point()}
    return dtypes.pop() if len(dtypes) == 1 else None


def _make(path: str, layer: Mapping[str, Any], block: MoEBlock, tensors: Mapping[str, Tensor]) -> RouterGate:
    saved, options = _apart(_of_layer(tensors, path))
    router_config = RouterConfig.from_json(layer, options)
    found: list[str] = []

    def made(device: str) -> RouterGate:
        router = router_config.make_aside(device)
        if layer["dtype"] is not None:
            router.to(getattr(torch, layer["dtype"]))
        return make_gate(block, router, router_config, float(layer["scaling"]))

    with suppress(Exception):  # what is wrong is said below; a user's own class may need values while it is made
        found = tensor_differences(path, made("meta").state_dict(), saved)
    try:
        path_of_class = router_config.class_path()
        gate = made("meta" if found else "cpu")  # no memory for a size that no saved tensor has
    except Exception as error:  # whatever a value of the options makes a class raise, the users' own too
        raise SavedRoutersError(f"{path}: {error}") from error
    found = found or tensor_differences(path, gate.state_dict(), saved)
    if not is_same_class(path_of_class, layer["class"]):
        found.insert(0, f"{path}: class is {path_of_class}, saved with {layer['class']}")
    if found := found or nan_parameters(path, saved, {name for name, _ in gate.named_parameters()}):
        raise SavedRoutersError("; ".join(found))
    gate.load_state_dict(saved)
    return gate.to(gate_device(block)).train(block.module.training)


def _other_sizes(path: str, layer: Mapping[str, Any], block: MoEBlock) -> list[str]:
    return [
        f"{path}: {size} is {getattr(block, size)}, saved with {layer[size]}"
        for size in ("hidden_size", "num_experts")
        if getattr(block, size) != layer[size]
    ]


def _of_layer(tensors: Mapping[str, Tensor], path: str) -> dict[str, Tensor]:
    return {key[len(path) + 1 :]: tensor for key, tensor in tensors.items() if key.startswith(f"{path}.")}


def _apart(saved: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A layer's state, and those of its options that are tensors."""
    prefix = f"{_OPTIONS}."
    state = {key: tensor for key, tensor in saved.items() if not key.startswith(prefix)}
    return state, {key.removeprefix(prefix): tensor for key, tensor in saved.items() if key.startswith(prefix)}


def _owner(content: Mapping[str, Any], path: str) -> str:
    owner: str = content["layers"][path].get(_SHARED, path)
    return owner
