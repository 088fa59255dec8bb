"""LoRA adapters of models with our routers: saved together with them, and loaded after them."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from harness.assets.files import alone_in, replace_file
from harness.replacement.unwrap import is_adapted
from harness.saving.files import (
    CONFIG,
    SavedRoutersError,
    as_one_line,
    parse_json,
    parse_safetensors,
    read_file,
    read_router_files,
    write_router_files,
)
from harness.saving.routers import describe_routers, router_gates, saved_differences

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
KEEPS_BASE_MODEL: dict[str, tuple[Any, ...]] = {
    "init_lora_weights": (True, False, "gaussian"),
    "layer_replication": (None, []),
    "kasa_config": (None,),
}
"""Fields of an adapter's configuration -> the values with which PEFT changes nothing in the model itself.

PiSSA, OLoRA and their like begin with the base model's weights, most of them by taking something away from those: their
adapters fit a base model that is saved nowhere.
"""


def save_adapter(model: nn.Module, directory: str | Path) -> None:
    """Write the active LoRA adapter of a model and the whole state of its routers.

    Args:
        model: a PeftModel over a model with replaced routers, in accelerate's wrappers or not.
        directory: made where it is missing; gets adapter_model.safetensors, adapter_config.json and what
            `save_routers` writes. A process that is killed leaves what was there before, or files that `load_adapter`
            refuses because they do not belong together.

    Raises:
        ValueError: no adapter, one that `load_adapter` would refuse, or as `save_routers`; nothing is written then.
        OSError: the directory cannot be written.
    """
    from peft import PeftModel, get_peft_model_state_dict

    adapted = next((module for module in model.modules() if isinstance(module, PeftModel)), None)
    if adapted is None:
        raise ValueError(f"{type(model).__name__} has no adapter to save; get_peft_model makes one")
    if not router_gates(adapted):
        raise ValueError(
            f"{type(model).__name__} has none of our routers; PEFT's own save_pretrained saves its adapter"
        )
    name = adapted.active_adapter
    if refusals := _refusals(adapted.peft_config[name].to_dict()):
        raise ValueError(f"the adapter {name!r} could not be loaded again: {'; '.join(refusals)}")
    weights = get_peft_model_state_dict(adapted, adapter_name=name, save_embedding_layers=False)
    if wrong := [key for key, tensor in weights.items() if not bool(tensor.isfinite().all())]:
        raise ValueError(f"the adapter {name!r} could not be loaded again: {wrong[0]} holds NaN or infinity")
    content, tensors = describe_routers(adapted)
    directory = Path(directory)
    with alone_in(directory), tempfile.TemporaryDirectory(prefix="adapter-", dir=directory) as beside:
        # Whether embeddings were resized PEFT would ask the hub; the base model is not saved here.
        adapted.save_pretrained(beside, selected_adapters=[name], save_embedding_layers=False)
        written = Path(beside) if name == "default" else Path(beside) / name
        files = {file: (written / file).read_bytes() for file in (ADAPTER_WEIGHTS, ADAPTER_CONFIG)}
        for file, data in files.items():
            replace_file(directory / file, data)
        companions = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
        write_router_files(directory, content | {"companions": companions}, tensors)


def load_adapter(model: nn.Module, directory: str | Path, *, trainable: bool = False) -> PeftModel:
    """Put a saved LoRA adapter around a model whose routers are those that it was trained with.

    Args:
        model: with its routers in place: `load_routers(model, DIR)` comes first.
        directory: as `save_adapter` wrote it, or PEFT's own `save_pretrained`, which needs a directory without routers:
            nothing would say that they belong together.
        trainable: whether LoRA's parameters ask for gradients; nothing else does, routers neither.

    Returns:
        PEFT's model around the model.

    Raises:
        SavedRoutersError: the routers have not been loaded first, or are others; a file is damaged, foreign or pickled;
            keys, shapes or dtypes do not fit, or a weight is not finite. The model is as it was.
    """
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    directory = Path(directory)
    tensors = _read_adapter(directory)
    if any(map(is_adapted, model.modules())):
        raise SavedRoutersError(f"{directory}: the model has an adapter already; unload that first")
    _check_routers(model, directory, tensors)
    with as_one_line(directory / ADAPTER_CONFIG, "does not fit the model"), _undone_on_error(model):
        config = _read_config(directory, tensors)
        config.inference_mode = not trainable
        adapted: PeftModel = get_peft_model(model, config)
        expected = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        if differences := _differences(expected, tensors):
            raise SavedRoutersError(f"{directory / ADAPTER_WEIGHTS}: does not fit the model: {'; '.join(differences)}")
        set_peft_model_state_dict(adapted, tensors)
    adapted.train(trainable and model.training)
    return adapted


def _read_adapter(directory: Path) -> dict[str, Tensor]:
    config, weights = directory / ADAPTER_CONFIG, directory / ADAPTER_WEIGHTS
    settings = parse_json(config, read_file(config))
    if settings.get("peft_type") != "LORA":
        raise SavedRoutersError(f"{config}: peft_type is {settings.get('peft_type')!r}, expected 'LORA'")
    if settings.get("megatron_config") is not None:
        raise SavedRoutersError(f"{config}: names a module to import (megatron_core), which is refused")
    if refusals := _refusals(settings):
        raise SavedRoutersError(f"{config}: {'; '.join(refusals)}")
    return parse_safetensors(weights, read_file(weights))


def _refusals(settings: Mapping[str, Any]) -> list[str]:
    return [
        f"{field} is {settings[field]!r}, which changes the model's own layers; expected "
        + " or ".join(map(repr, allowed))
        for field, allowed in KEEPS_BASE_MODEL.items()
        if field in settings and settings[field] not in allowed
    ]


def _read_config(directory: Path, tensors: Mapping[str, Tensor]) -> LoraConfig:
    """PEFT's configuration, its ranks bounded by those of the saved weights: what is to be allocated follows them."""
    from peft import LoraConfig
    from peft.utils.other import get_pattern_key

    config: Any = LoraConfig.from_pretrained(str(directory))
    ranks = config.rank_pattern or {}
    found = []
    for key, tensor in tensors.items():
        if match := re.fullmatch(r"base_model\.model\.(.+)\.(?:lora_A\.weight|lora_embedding_A)", key):
            rank = ranks.get(get_pattern_key(list(ranks), match[1]), config.r)
            if type(rank) is not int or rank > len(tensor):
                found.append(f"{match[1]} has rank {rank!r}, its {len(tensor)} rows are saved")
    if found:
        raise SavedRoutersError(f"{directory / ADAPTER_CONFIG}: does not fit {ADAPTER_WEIGHTS}: {'; '.join(found)}")
    return config  # type: ignore[no-any-return]  # PEFT's from_pretrained is not typed


def _check_routers(model: nn.Module, directory: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse what would end as a KeyError or, worse, as wrong logits: an adapter on other routers than its own."""
    order = f"load the routers first: load_routers(model, {str(directory)!r}), then load_adapter(model, DIR)"
    present = router_gates(model)
    if (directory / CONFIG).is_file():
        content, _ = read_router_files(directory)
        with as_one_line(directory / CONFIG):
            companions = dict(content["companions"])
        for file in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
            if file not in companions:
                raise SavedRoutersError(
                    f"{directory / file}: {CONFIG} beside it does not name it, so the routers may be others than the "
                    "adapter's; save_adapter writes both, and save_routers belongs into another directory"
                )
        for file, digest in companions.items():
            if hashlib.sha256(read_file(directory / file)).hexdigest() != digest:
                raise SavedRoutersError(f"{directory / file}: was not written together with {CONFIG}")
        if not present:
            raise SavedRoutersError(f"{directory}: the model has its own routers still; {order}")
        if differences := saved_differences(model, directory):
            raise SavedRoutersError(
                f"{directory}: the model's routers are not the adapter's: {'; '.join(differences)}; {order}"
            )
        return
    trained_on = {match[1] for key in tensors if (match := re.match(r"base_model\.model\.(.+)\.router\.", key))}
    if missing := sorted(trained_on - present.keys()):
        raise SavedRoutersError(f"{directory}: trained with routers in place of {', '.join(missing)}; {order}")


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    differences = [f"{key}: missing" for key in sorted(expected.keys() - found.keys())]
    differences += [f"{key}: unknown" for key in sorted(found.keys() - expected.keys())]
    for key in sorted(expected.keys() & found.keys()):
        here, there = tuple(expected[key].shape), tuple(found[key].shape)
        if here != there:
            differences.append(f"{key}: shape {here}, saved as {there}")
        elif not _holds(expected[key].dtype, found[key].dtype):
            differences.append(f"{key}: {expected[key].dtype}, saved as {found[key].dtype}")
        elif not bool(found[key].isfinite().all()):
            differences.append(f"{key}: holds NaN or infinity")
    return differences


def _holds(dtype: torch.dtype, saved: torch.dtype) -> bool:
    """Whether what was saved becomes a weight without a digit less: PEFT has trained adapters in half precision too."""
    return saved == dtype or (dtype == torch.float32 and saved in (torch.float16, torch.bfloat16))


@contextmanager
def _undone_on_error(model: nn.Module) -> Iterator[None]:
    """PEFT puts its layers into the model itself; where it fails, the very same modules go back."""
    children = {module: dict(module._modules) for module in model.modules()}
    asked = {parameter: parameter.requires_grad for parameter in model.parameters()}
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    except BaseException:
        for module, before in children.items():
            module._modules.clear()
            module._modules.update(before)
            module.training = modes[module]
        for parameter, grad in asked.items():
            parameter.requires_grad_(grad)
        for module in children:
            vars(module).pop("peft_config", None)
        raise
