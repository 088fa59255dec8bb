"""Hadamard matrices: entries ±1, orthogonal rows, the first row all ones. Axes: D hidden size, M rows."""

from __future__ import annotations

import warnings
from functools import lru_cache

import torch
from torch import Tensor


def hadamard_matrix(order: int) -> Tensor | None:
    """H (order, order) in float32 with H Hᵀ = order · I, or None where no construction here gives one.

    Paley's first construction of order q + 1 (q prime, q mod 4 = 3; or order 1) times Sylvester's of a power of two:
    H₇₆₈ = H₁₂ ⊗ H₆₄. The largest power of two that fits is taken. Row 0 and column 0 are all ones.
    """
    sylvester_order = order & -order
    while sylvester_order >= 1:
        core = _paley(order // sylvester_order)
        if core is not None:
            return torch.kron(core, _sylvester(sylvester_order))
        sylvester_order //= 2
    return None


def hadamard_rows(hidden_size: int, first: int, count: int) -> Tensor:
    """`count` rows of a Hadamard matrix from row `first` on, (count, D), on the CPU even where the meta device reigns.

    Where no matrix of order D is known, the rows come from Sylvester's matrix of the next power of two, cut to D
    columns. They are then not orthogonal in general: a UserWarning says so where P Pᵀ = D · I fails.

    Raises:
        ValueError: the matrix has too few rows.
    """
    rows, orthogonal = _construct_rows(hidden_size, first, count)
    if len(rows) < count:
        raise ValueError(f"a Hadamard matrix for hidden_size {hidden_size} has no rows {first} to {first + count - 1}")
    if not orthogonal:
        warnings.warn(
            f"no Hadamard matrix of order {hidden_size}: rows cut from a larger one are not orthogonal", stacklevel=2
        )
    return rows.clone()


@lru_cache(maxsize=8)
def _construct_rows(hidden_size: int, first: int, count: int) -> tuple[Tensor, bool]:
    """The rows, or as many as there are, and whether they are orthogonal.

    Kept, because each layer of a model asks for the same ones. Nobody else holds what is kept, so that a router may
    change its own.
    """
    with torch.device("cpu"):
        matrix = hadamard_matrix(hidden_size)
        if matrix is None:
            matrix = _sylvester(1 << (hidden_size - 1).bit_length())[:, :hidden_size]
        rows = matrix[first : first + count].clone()
        return rows, torch.equal(rows @ rows.T, hidden_size * torch.eye(len(rows)))


def _sylvester(order: int) -> Tensor:
    matrix = torch.ones(1, 1)
    while len(matrix) < order:
        matrix = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), matrix)
    return matrix


def _paley(order: int) -> Tensor | None:
    """Order 1, or q + 1 with a prime q ≡ 3 (mod 4): quadratic residues in a circulant, bordered by ones."""
    if order == 1:
        return torch.ones(1, 1)
    q = order - 1
    if q % 4 != 3 or any(q % divisor == 0 for divisor in range(3, int(q**0.5) + 1, 2)):
        return None
    residues = {i * i % q for i in range(1, q)}
    character = torch.tensor([0.0] + [1.0 if i in residues else -1.0 for i in range(1, q)])
    index = torch.arange(q)
    jacobsthal = character[(index[:, None] - index[None, :]) % q]
    matrix = torch.ones(order, order)
    matrix[1:, 1:] = -jacobsthal - torch.eye(q)
    return matrix
