"""A product with each row's own matrix, as an operator. Axes: N rows sorted by expert, E experts, I inputs, O outputs.

The number of rows of an expert is data, which neither `torch.compile` nor `torch.export` looks at while it traces. To
them this operator is one node whose output has a known shape; what it does inside is what experts do without them. A
program that was exported with it needs `import routers` where it is loaded.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def grouped_linear(rows: Tensor, weight: Tensor, expert_index: Tensor) -> Tensor:
    """y_n = W_e(n) x_n: (N, I), (E, O, I), (N,) int64 non-decreasing -> (N, O). Under autocast in its dtype."""
    device = rows.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        rows, weight = rows.to(dtype), weight.to(dtype)
    product: Tensor = _product(rows, weight, expert_index)
    return product


def takes_grouped_mm(rows: Tensor, weight: Tensor) -> bool:
    """Whether torch's grouped product works here without the host: no size of a group is waited for.

    It does on a GPU of compute capability 9 (Hopper) on, in bfloat16, without autocast, with I and O multiples of 8:
    rows of matrices begin at multiples of 16 bytes. In other dtypes and on older cards torch's own product copies the
    offsets to the host, once a product; there experts wait once for all of them.
    """
    return (
        rows.dtype == weight.dtype == torch.bfloat16
        and not torch.is_autocast_enabled(rows.device.type)
        and weight.shape[1] % 8 == weight.shape[2] % 8 == 0
        and hasattr(F, "grouped_mm")
        and compute_capability(rows.device) >= (9, 0)
    )


@cache
def compute_capability(device: torch.device) -> tuple[int, int]:
    """Of a GPU, as it stays the same while a process lives."""
    return torch.cuda.get_device_capability(device)


def grouped_mm(rows: Tensor, weight: Tensor, expert_index: Tensor) -> Tensor:
    """As `grouped_linear`, by torch's grouped product with offsets that stay on the device."""
    experts = torch.arange(1, weight.shape[0] + 1, device=expert_index.device)
    ends = torch.searchsorted(expert_index, experts, out_int32=True)
    product: Tensor = F.grouped_mm(rows, weight.transpose(1, 2), offs=ends)
    return product


def _counts(expert_index: Tensor, num_experts: int) -> list[int]:
    counts: list[int] = torch.bincount(expert_index, minlength=num_experts).tolist()
    return counts


@torch.library.custom_op("moe_routers::grouped_linear", mutates_args=())
def _product(rows: Tensor, weight: Tensor, expert_index: Tensor) -> Tensor:
    if rows.device.type == "cuda" and takes_grouped_mm(rows, weight):
        return grouped_mm(rows, weight, expert_index)
    output = rows.new_empty(len(rows), weight.shape[1])
    with torch.autocast(rows.device.type, enabled=False):
        counts = _counts(expert_index, len(weight))
        for x, y, matrix in zip(torch.split(rows, counts), torch.split(output, counts), weight, strict=True):
            y.copy_(F.linear(x, matrix))
    return output


@torch.library.custom_op("moe_routers::grouped_outer", mutates_args=())
def _outer(gradients: Tensor, rows: Tensor, expert_index: Tensor, num_experts: int) -> Tensor:
    """Σ_n g_n x_nᵀ of each expert's rows: (N, O), (N, I) -> (E, O, I)."""
    output = rows.new_empty(num_experts, gradients.shape[1], rows.shape[1])
    with torch.autocast(rows.device.type, enabled=False):
        counts = _counts(expert_index, num_experts)
        for g, x, matrix in zip(torch.split(gradients, counts), torch.split(rows, counts), output, strict=True):
            matrix.copy_(g.t() @ x)
    return output


@_product.register_fake
def _(rows: Tensor, weight: Tensor, expert_index: Tensor) -> Tensor:
    return rows.new_empty(rows.shape[0], weight.shape[1])


@_outer.register_fake
def _(gradients: Tensor, rows: Tensor, expert_index: Tensor, num_experts: int) -> Tensor:
    return rows.new_empty(num_experts, gradients.shape[1], rows.shape[1])


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
    rows, weight, expert_index = context.saved_tensors
    gradient = gradient.contiguous()
    of_rows = _product(gradient, weight.transpose(1, 2).contiguous(), expert_index)
    return of_rows, _outer(gradient, rows, expert_index, weight.shape[0]), None


torch.library.register_autograd("moe_routers::grouped_linear", _gradients, setup_context=_remember)
