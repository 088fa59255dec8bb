"""Products with each row's own matrix, whose gradients are written once. Axes: N rows, E experts, O outputs, I inputs.

What autograd makes of E products with E slices is E gradients and a stack of them. Here the gradient of the bank is one
array, of which each expert with rows writes its own part. The two functions are each other's derivatives, so
gradients have gradients of any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from routers.layer.gradient_memory import in_large_pages, untouched_zeros

FEW_ROWS = (2, 3)
"""Of so many rows W·xᵀ takes 0.4 to 1.1 times x·Wᵀ in float32 on a CPU (MKL); of more it takes longer."""


class Blocks(NamedTuple):
    """The experts that have rows, and how many each: rows are sorted by expert."""

    experts: list[int]
    sizes: list[int]

    @classmethod
    def of(cls, expert_index: Tensor, num_experts: int) -> Blocks:
        """Of rows that are sorted by expert, (N,) int64. Waits for the device."""
        counts = torch.bincount(expert_index, minlength=num_experts).tolist()
        experts = [expert for expert, count in enumerate(counts) if count]
        return cls(experts, [counts[expert] for expert in experts])

    def split(self, rows: Tensor, dim: int = 0) -> Sequence[Tensor]:
        """Each expert's rows of (N, …), or its columns."""
        return torch.split(rows, self.sizes, dim) if self.sizes else ()

    def pick(self, bank: Tensor) -> list[Tensor]:
        """Each expert's part of (E, …), in which `unbind` makes views of all at once."""
        if 4 * len(self.experts) < bank.shape[0] and not (bank.requires_grad and torch.is_grad_enabled()):
            return [bank[expert] for expert in self.experts]
        parts = bank.unbind()
        return [parts[expert] for expert in self.experts]


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """W x + b of the rows of one expert, (n, I), (O, I), (O,) -> (n, O)."""
    if rows.shape[0] in FEW_ROWS and rows.dtype == torch.float32 and bias is None:
        return torch.mm(weight, rows.t()).t()
    return F.linear(rows, weight, bias)


class GroupedLinear(torch.autograd.Function):
    """y_n = W_e(n) x_n: (N, I), (E, O, I), blocks -> (N, O)."""

    @staticmethod
    def forward(rows: Tensor, weight: Tensor, blocks: Blocks) -> Tensor:
        """The product, an expert after the other."""
        output = rows.new_empty(rows.shape[0], weight.shape[1])
        turned = FEW_ROWS if rows.dtype == torch.float32 and weight.stride(2) == 1 else ()
        matrices = blocks.pick(weight.transpose(1, 2))
        for x, matrix, y in zip(blocks.split(rows), matrices, blocks.split(output), strict=True):
            if x.shape[0] in turned:
                y.copy_(torch.mm(matrix.t(), x.t()).t())
            else:
                torch.mm(x, matrix, out=y)
        return output

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Blocks], output: Tensor) -> None:
        """Keep the factors."""
        rows, weight, ctx.blocks = inputs
        ctx.save_for_backward(rows, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Of the rows W_eᵀ g_n, of the matrices Σ_n g_n x_nᵀ."""
        rows, weight = ctx.saved_tensors
        of_rows, of_weight, _ = ctx.needs_input_grad
        return (
            GroupedLinear.apply(gradient, weight.transpose(1, 2), ctx.blocks) if of_rows else None,  # type: ignore[no-untyped-call]
            GroupedOuter.apply(gradient, rows, ctx.blocks, weight.shape[0]) if of_weight else None,  # type: ignore[no-untyped-call]
            None,
        )


def _bank_for(blocks: Blocks, shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """Memory (E, O, I) that is 0 where an expert has no row, and is written elsewhere."""
    if 2 * len(blocks.experts) < shape[0]:
        return untouched_zeros(shape, like)
    bank = in_large_pages(like.new_empty(shape))
    for expert in set(range(shape[0])).difference(blocks.experts):
        bank[expert].zero_()
    return bank


class GroupedOuter(torch.autograd.Function):
    """Σ_n g_n x_nᵀ over each expert's rows: (N, O), (N, I), blocks, E -> (E, O, I), zero where there is no row."""

    @staticmethod
    def forward(gradients: Tensor, rows: Tensor, blocks: Blocks, num_experts: int) -> Tensor:
        """Each product is written into its place."""
        output = _bank_for(blocks, (num_experts, gradients.shape[1], rows.shape[1]), rows)
        of_expert = zip(blocks.split(gradients.t(), dim=1), blocks.split(rows), blocks.pick(output), strict=True)
        for g, x, place in of_expert:
            torch.mm(g, x, out=place)
        return output

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Blocks, int], output: Tensor) -> None:
        """Keep the factors."""
        gradients, rows, ctx.blocks, _ = inputs
        ctx.save_for_backward(gradients, rows)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Of the gradients G_e x_n, of the rows G_eᵀ g_n, for an upstream G (E, O, I)."""
        gradients, rows = ctx.saved_tensors
        return (
            GroupedLinear.apply(rows, upstream, ctx.blocks),  # type: ignore[no-untyped-call]
            GroupedLinear.apply(gradients, upstream.transpose(1, 2), ctx.blocks),  # type: ignore[no-untyped-call]
            None,
            None,
        )
