"""Counts of assignments without tokens, such as a training run logs: all that balance is measured of.

Axes: S records, L layers, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.trace import MOST_EXPERTS, MOST_LAYERS, Array


@dataclass(frozen=True, eq=False)
class LoadTrace:
    """How many assignments each expert had, record by record.

    Attributes:
        load: (S, L, E) whole numbers.
        steps: (S,) whole numbers, of each record.
        layer_names: of each layer.
        source: the name of the file.

    Raises:
        TraceError: shapes disagree, or a number is below 0.
    """

    load: Array
    steps: Array
    layer_names: tuple[str, ...]
    source: str = "the trace"

    def __post_init__(self) -> None:
        records, layers, experts = self.load.shape
        if not self.load.size or experts > MOST_EXPERTS or layers > MOST_LAYERS:
            raise TraceError(
                f"{self.source}: counts are {self.load.shape} (records, layers, experts), expected some of each, at "
                f"most {MOST_LAYERS:,} layers and {MOST_EXPERTS:,} experts"
            )
        if self.steps.shape != (records,) or len(self.layer_names) != layers:
            raise TraceError(f"{self.source}: {len(self.steps)} steps and {len(self.layer_names)} names of layers")
        if self.load.min() < 0:
            record, layer, expert = (int(each[0]) for each in np.nonzero(self.load < 0))
            raise TraceError(
                f"{self.source}: record {record}, layer {self.layer_names[layer]}, expert {expert}: "
                f"{self.load[record, layer, expert]} assignments, expected at least 0"
            )


def side_by_side(parts: Sequence[LoadTrace]) -> LoadTrace:
    """One trace of the files of expert-parallel ranks: the first rank's experts come first.

    Raises:
        TraceError: their steps or layers disagree.
    """
    first = parts[0]
    for other in parts[1:]:
        if other.layer_names != first.layer_names:
            raise TraceError(
                f"{other.source}: layers {', '.join(other.layer_names)[:200]}, not those of {first.source}"
            )
        if not np.array_equal(other.steps, first.steps):
            raise TraceError(f"{other.source}: {len(other.steps)} records, not those of {first.source}: cut off?")
    load = np.concatenate([each.load for each in parts], axis=2)
    return LoadTrace(load, first.steps, first.layer_names, ", ".join(each.source for each in parts))
