"""The ids of the tokens that are routed. Axes: B batch, S sequence, T = B·S tokens, V ids of a table."""

from __future__ import annotations

import torch
from torch import Tensor


def flat_token_ids(token_ids: Tensor, shape: torch.Size) -> Tensor:
    """Checked ids, (T,) or (B, S) whole numbers -> (T,).

    Args:
        token_ids: of the tokens, in their order.
        shape: of the hidden states, (T, D) or (B, S, D).

    Raises:
        ValueError: the ids are of other tokens, or no whole numbers.
    """
    ids, tokens = token_ids.reshape(-1), shape[:-1].numel()
    if len(ids) != tokens:
        raise ValueError(f"token_ids hold {len(ids)} ids, expected one for each of the {tokens} tokens")
    # Number by number: in a graph of dynamic shapes tuples of sizes are never the same.
    if token_ids.dim() > 1 and not (
        token_ids.dim() == len(shape) - 1 and all(n == m for n, m in zip(token_ids.shape, shape, strict=False))
    ):
        raise ValueError(f"token_ids have shape {tuple(token_ids.shape)}, expected {tuple(shape[:-1])} or ({tokens},)")
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise ValueError(f"token_ids are {ids.dtype}, expected whole numbers")
    return ids


def look_up(table: Tensor, ids: Tensor) -> Tensor:
    """The rows of a table at ids, (V, …) and (T,) -> (T, …).

    Raises:
        ValueError: an id that is not in the table; one below 0 would be counted from its end. Not in a compiled graph.
    """
    if ids.numel() and not torch.compiler.is_compiling() and not ids.is_meta:
        least, most = map(int, ids.aminmax())
        if least < 0 or most >= len(table):
            raise ValueError(f"token_ids hold {least if least < 0 else most}, expected 0 to {len(table) - 1}")
    return table[ids.long()]
