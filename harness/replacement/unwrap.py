"""Models and modules without the wrappers of PEFT, accelerate and torch.compile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def bare_model(model: nn.Module) -> nn.Module:
    """The transformers model inside, or the model itself where there is none: paths in it are always the same."""
    transformers: Any = sys.modules.get("transformers.modeling_utils")
    if transformers is None:
        return model
    return next((module for module in model.modules() if isinstance(module, transformers.PreTrainedModel)), model)


def is_adapted(module: nn.Module) -> bool:
    """Whether PEFT stands around this very module: a layer with LoRA, or one of `modules_to_save`."""
    return isinstance(module, (_layer_class(), _trained_copy_class()))


def unwrap_module(module: nn.Module, *, trained: bool) -> nn.Module:
    """The module inside PEFT's wrappers.

    Args:
        module: wrapped or not.
        trained: of a module in `modules_to_save`, the active adapter's copy rather than the original.

    Raises:
        ValueError: an adapter is merged into the weights.
    """
    while is_adapted(module):
        wrapper: Any = module
        if isinstance(module, _layer_class()):
            if wrapper.merged:
                raise ValueError(f"an adapter is merged into a {type(module).__name__}: unmerge it first")
            module = wrapper.get_base_layer()
        else:
            copies = [] if wrapper.disable_adapters or not trained else wrapper.active_adapters
            module = next(
                (wrapper.modules_to_save[name] for name in copies if name in wrapper.modules_to_save),
                wrapper.original_module,
            )
    return module


def bare_state(module: nn.Module, *, trained: bool = True) -> dict[str, Tensor]:
    """A module's parameters and persistent buffers, by the names and with the values that they have without LoRA.

    Args:
        module: wrapped or not, wherever in it; offloaded by accelerate or not.
        trained: see `unwrap_module`.

    Raises:
        ValueError: an adapter is merged into the weights.
    """
    return {
        f"{path}{name}": tensor.detach()
        for path, tensors in bare_tensors(module, trained=trained)
        for name, tensor in tensors.items()
    }


def bare_tensors(module: nn.Module, *, trained: bool, path: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """As `bare_state`, one module after the other: its path with a dot, and its own tensors.

    What is offloaded is read when it is its turn, so that no more of it is in memory than one module's.
    """
    module = unwrap_module(module, trained=trained)
    # By hand, because the public iterators leave out what has two names, and a state has both.
    with with_values(module):
        own = module._parameters | module._buffers
        yield (
            path,
            {
                name: tensor
                for name, tensor in own.items()
                if tensor is not None and name not in module._non_persistent_buffers_set
            },
        )
    for name, child in module._modules.items():
        if child is not None:
            yield from bare_tensors(child, trained=trained, path=f"{path}{name}.")


@contextmanager
def with_values(module: nn.Module) -> Iterator[None]:
    """Inside, a module's own tensors have values, where accelerate has put those away until the module is called.

    Offloaded parameters lie on the meta device, and a copy of them is whatever was in memory before.

    Raises:
        ValueError: FSDP2 has sharded the module: no process has its values alone.
    """
    if any(hasattr(tensor, "full_tensor") for tensor in module._parameters.values()):
        raise ValueError(
            f"a {type(module).__name__} is sharded by FSDP2 (DTensor): replace, save and load routers before that"
        )
    accelerate: Any = sys.modules.get("accelerate.utils")  # what was never imported has put nothing away
    with nullcontext() if accelerate is None else accelerate.align_module_device(module):
        yield


def execution_device(module: nn.Module) -> torch.device | None:
    """The device on which accelerate has a module compute, or None where it has no say."""
    hook: Any = getattr(module, "_hf_hook", None)
    for each in getattr(hook, "hooks", (hook,)):
        device = getattr(each, "execution_device", None)
        if isinstance(device, (str, int, torch.device)):
            return torch.device(device)
    return None


def _layer_class() -> Any:
    # What was never imported stands around nothing.
    return getattr(sys.modules.get("peft.tuners.tuners_utils"), "BaseTunerLayer", ())


def _trained_copy_class() -> Any:
    return getattr(sys.modules.get("peft.utils.other"), "ModulesToSaveWrapper", ())
