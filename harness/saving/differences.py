"""Differences between a router's tensors and those that were saved, a phrase each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def tensor_differences(
    path: str, present: Mapping[str, Tensor], saved: Mapping[str, Tensor], *, values: bool = False
) -> list[str]:
    """Where names, shapes or dtypes differ; with `values`, where values do too."""
    found = [f"{path}.{name}: not saved" for name in sorted(present.keys() - saved.keys())]
    found += [f"{path}.{name}: saved, and unknown" for name in sorted(saved.keys() - present.keys())]
    for name in sorted(present.keys() & saved.keys()):
        now, before = _form(present[name]), _form(saved[name])
        if now != before:
            found.append(f"{path}.{name} is {now}, saved as {before}")
        elif values and not torch.equal(present[name].cpu(), saved[name]):
            found.append(f"{path}.{name}: other values")
    return found


def nan_parameters(path: str, state: Mapping[str, Tensor], parameters: set[str]) -> list[str]:
    """The parameters that hold NaN; a buffer may, and infinity in a bias masks an expert."""
    names = sorted(parameters & state.keys())
    return [f"{path}.{name}: holds NaN" for name in names if bool(state[name].isnan().any())]


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
