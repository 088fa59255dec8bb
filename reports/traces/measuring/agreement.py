"""Two traces of the same tokens, such as those of a train engine and of an inference engine.

Axes: T tokens, L layers, K experts per token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.tokens import SLOTS, Tokens, refuse_unlike
from reports.traces.trace import Array


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far two traces are one.

    Attributes:
        source: the names of the other files.
        tokens: that count in both.
        anywhere: share of the tokens whose set of experts differs in some layer.
        up_to: share of the tokens whose set differs in some layer up to each, (L,).
        differs: share of the tokens whose set differs, by layer, (L,).
        flip_rate: 1 − |A ∩ B| / K, mean over tokens, by layer, (L,): `routers.metrics.flip_rate`.
        lost: share of the tokens whose expert at a rank the other trace has at none, (L, K).
        moved: share of the tokens whose expert at a rank the other has at another rank, (L, K).
    """

    source: str
    tokens: int
    anywhere: float
    up_to: Array
    differs: Array
    flip_rate: Array
    lost: Array
    moved: Array


def agree(ours: Tokens, theirs: Tokens) -> Agreement:
    """Compare two traces, token by token.

    Raises:
        TraceError: they are not of the same tokens, layers, E and K, or no token counts in both.
    """
    refuse_unlike(ours.first, theirs.first)
    for name in ("tokens", "experts"):
        a, b = getattr(ours, f"num_{name}"), getattr(theirs, f"num_{name}")
        if a != b and (name == "tokens" or not (ours.inferred or theirs.inferred)):
            raise TraceError(f"{theirs.source}: {b:,} {name}, expected {a:,} as in {ours.source}")
    _refuse_other_tokens(ours, theirs)
    keep = ours.mask() & theirs.mask()
    if not keep.any():
        raise TraceError(f"{theirs.source}: no token counts in both traces")
    layers, top_k = ours.first.num_layers, ours.first.top_k
    up_to, differs = np.zeros((2, layers), dtype=np.int64)
    lost, moved = np.zeros((2, layers, top_k), dtype=np.int64)
    size = max(1, SLOTS // (layers * top_k))
    for first in range(0, ours.num_tokens, size):
        last = min(first + size, ours.num_tokens)
        a, b = (each.rows(first, last)[keep[first:last]] for each in (ours, theirs))
        has = np.zeros(a.shape, dtype=bool)
        for slot in range(top_k):
            has |= a == b[:, :, slot, None]
        other = ~has.all(axis=-1)
        if ours.first.empty_slots:
            # An expert that the other has more is a difference too.
            other |= (a >= 0).sum(axis=-1) != (b >= 0).sum(axis=-1)
        differs += other.sum(axis=0)
        up_to += np.logical_or.accumulate(other, axis=1).sum(axis=0)
        lost += (~has).sum(axis=0)
        moved += (has & (a != b)).sum(axis=0)
    tokens = int(keep.sum())
    shares = up_to / tokens
    return Agreement(
        source=theirs.source,
        tokens=tokens,
        anywhere=float(shares[-1]),
        up_to=shares,
        differs=differs / tokens,
        flip_rate=lost.mean(axis=-1) / tokens,
        lost=lost / tokens,
        moved=moved / tokens,
    )


def _refuse_other_tokens(ours: Tokens, theirs: Tokens) -> None:
    a, b = ours.column("token_ids"), theirs.column("token_ids")
    if a is not None and b is not None and (a != b).any():
        place = int(np.nonzero(a != b)[0][0])
        raise TraceError(
            f"{theirs.source}: token {place} has the id {b[place]}, expected {a[place]} as in {ours.source}: not the "
            "same text"
        )
