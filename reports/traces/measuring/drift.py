"""How the load changes along a trace. Axes: T tokens, L layers, E experts, W windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.traces.measuring import measures
from reports.traces.measuring.counting import Counts
from reports.traces.trace import Array


@dataclass(frozen=True, eq=False)
class Drift:
    """How the load changes along the trace.

    Attributes:
        labels: of the windows, in order: their first token, or their first step.
        tokens: of each, (W,).
        from_first: total-variation distance of each window's load from that of the first, (W, L).
        from_last: from that of the window before, (W, L); NaN for the first.
        by_chance: what `from_first` would be in the mean of tokens drawn from one and the same distribution, (W, L).
        by_steps: the windows are of steps.
        counted: what `tokens` are, as a heading.
    """

    labels: tuple[int, ...]
    tokens: Array
    from_first: Array
    from_last: Array
    by_chance: Array
    by_steps: bool
    counted: str = "Tokens"


def windows_of(mask: Array, steps: Array | None, windows: int) -> tuple[Array, tuple[int, ...]]:
    """Each token's window (T,), and what each window begins with. Those of tokens that do not count mean nothing."""
    if steps is None:
        counted = np.maximum(mask.cumsum() - 1, 0)
        total = int(mask.sum())
        number = min(windows, total)
        found = counted * number // total
        return found, tuple(int(each) for each in np.searchsorted(found, np.arange(number)))
    values, places = np.unique(steps, return_inverse=True)
    used = np.unique(places[mask])
    order = np.zeros(len(values), dtype=np.intp)
    order[used] = np.arange(len(used))
    number = min(windows, len(used))
    found = order[places] * number // len(used)
    firsts = values[used][-(-np.arange(number) * len(used) // number)]
    return found, tuple(int(each) for each in firsts)


def drift_of(counts: Counts, labels: tuple[int, ...], *, by_steps: bool) -> Drift:
    """Each window against the first, and against the one before."""
    load = counts.load.astype(np.float64)
    before = np.full(load.shape[:2], np.nan)
    before[1:] = measures.distance(load[1:], load[:-1])
    # A window's count of an expert is binomial: N tokens, each of which has it or not. The mean of |x| of a normal x
    # is its deviation times √(2/π), and the two windows' variances add.
    tokens = counts.tokens.astype(np.float64)
    had = load.sum(axis=0) / tokens.sum()  # (L, E), the share of tokens that have an expert
    per_token = np.maximum(had.sum(axis=-1), np.finfo(np.float64).tiny)
    deviation = np.sqrt(2 / np.pi * had * np.maximum(1 - had, 0)).sum(axis=-1) / per_token / 2  # (L,)
    spread = np.sqrt(1 / tokens + 1 / tokens[0])
    spread[0] = 0
    return Drift(
        labels, counts.tokens, measures.distance(load, load[:1]), before, spread[:, None] * deviation, by_steps
    )
