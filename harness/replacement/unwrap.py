"""Models and modules without the wrappers of PEFT, accelerate and torch.compile."""

from __future__ import annotations

import sys
from typing import Any

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
        module: wrapped or not, wherever in it.
        trained: see `unwrap_module`.

    Raises:
        ValueError: an adapter is merged into the weights.
    """
    module = unwrap_module(module, trained=trained)
    state: dict[str, Tensor] = {}
    # By hand, because the public iterators leave out what has two names, and a state has both.
    for name, tensor in (module._parameters | module._buffers).items():
        if tensor is not None and name not in module._non_persistent_buffers_set:
            state[name] = tensor.detach()
    for name, child in module._modules.items():
        if child is not None:
            state |= {f"{name}.{below}": tensor for below, tensor in bare_state(child, trained=trained).items()}
    return state


def _layer_class() -> Any:
    # What was never imported stands around nothing.
    return getattr(sys.modules.get("peft.tuners.tuners_utils"), "BaseTunerLayer", ())


def _trained_copy_class() -> Any:
    return getattr(sys.modules.get("peft.utils.other"), "ModulesToSaveWrapper", ())
