"""What the routers decided for a batch, counted over all processes.

Axes: B batch, S sequence, T = B·S tokens, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from routers.balancing.processes import Processes
from routers.routing import Routing, TokenChoice, count_assignments


@dataclass(frozen=True, eq=False)
class Tally:
    """What one router decided for a batch, and the counts of that batch in all processes.

    Attributes:
        name: of the router.
        routing: of the T tokens of this process, padding too.
        mask: (T,) bool, True where a token counts; None where every one does.
        shape: (B, S), or None where it is not known.
        tokens_per_expert: (E,) int64, of all processes.
        tokens: () int64, those that count, of all processes.
        sequences: () int64, those with a token that counts, of all processes; 0 where the shape is not known.
        processes: how many.
    """

    name: str
    routing: TokenChoice
    mask: Tensor | None
    shape: tuple[int, int] | None
    tokens_per_expert: Tensor
    tokens: Tensor
    sequences: Tensor
    processes: int

    @cached_property
    def counting(self) -> TokenChoice:
        """The routing of the tokens that count alone."""
        return self.routing if self.mask is None else _rows(self.routing, self.mask)

    @property
    def share(self) -> Tensor:
        """() what a sum over this process's tokens is multiplied by, so that the processes' mean is that of all tokens.

        The number of processes over that of all tokens: each process then weighs by its share of them.
        """
        return self.processes / self.tokens.clamp_min(1)


def tally(routings: Iterable[tuple[str, Routing]], mask: Tensor | None, processes: Processes) -> list[Tally]:
    """Count a batch, with one exchange between the processes for all routers.

    Args:
        routings: the routers' names and what each decided; a router that was called twice stands there twice.
        mask: (B, S) or (T,), True or 1 where a token counts; the routings' own if None.
        processes: whose counts are added.

    Raises:
        ValueError: the mask is of other tokens.
        TypeError: a router did not choose experts for tokens.
    """
    heard = [(name, _token_choice(name, routing)) for name, routing in routings]
    if not heard:
        return []
    mask = heard[0][1].mask if mask is None else mask
    flat = None if mask is None else mask.flatten().bool()
    shape = (mask.shape[0], mask.shape[1]) if mask is not None and mask.dim() == 2 else None
    counts = [count_kept(name, routing, flat) for name, routing in heard]
    first = heard[0][1].selected_experts
    tokens = len(first) if flat is None else int(flat.sum())
    sequences = 0 if mask is None or shape is None else int(mask.bool().any(dim=1).sum())
    sizes = torch.tensor([tokens, sequences], device=first.device)
    *counted, tokens_all, sequences_all = torch.split(
        processes.total(torch.cat([*counts, sizes])), [*map(len, counts), 1, 1]
    )
    return [
        Tally(name, routing, flat, shape, count, tokens_all.squeeze(), sequences_all.squeeze(), processes.count())
        for (name, routing), count in zip(heard, counted, strict=True)
    ]


def count_kept(name: str, routing: TokenChoice, mask: Tensor | None) -> Tensor:
    """Counts (E,) int64 of a router's assignments, without padding and without slots that were not kept.

    Raises:
        ValueError: the mask is of other tokens.
    """
    selected = routing.selected_experts
    if mask is not None and mask.shape != selected.shape[:1]:
        raise ValueError(f"mask is of {mask.numel()} tokens, expected the {len(selected)} of router {name!r}")
    kept = routing.kept
    if mask is not None:
        selected, kept = selected[mask], None if kept is None else kept[mask]
    return count_assignments(selected if kept is None else selected[kept], routing.num_experts)


def _token_choice(name: str, routing: Routing) -> TokenChoice:
    if not isinstance(routing, TokenChoice):
        raise TypeError(
            f"router {name!r} gives a {type(routing).__name__}; balancing needs one that chooses experts for each token"
        )
    return routing


def _rows(routing: TokenChoice, mask: Tensor) -> TokenChoice:
    """The routing of some tokens: every tensor of a routing has a row for each token."""
    values = {each.name: getattr(routing, each.name) for each in fields(routing)}
    chosen: dict[str, Any] = {name: value[mask] for name, value in values.items() if isinstance(value, Tensor)}
    if routing.unread is not None:
        chosen["unread"] = routing.unread.mapped(lambda rows: rows[mask])
    return replace(routing, **chosen)
