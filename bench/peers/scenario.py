"""The scenario in which ours and others do the same work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.case import Case, Replay
from bench.peers.catalogue import WORKS
from bench.presets import Preset
from bench.router.checked import BASELINE
from bench.scenario import Scenario
from bench.sizes import SEPARATOR, Sizes


@dataclass(frozen=True, kw_only=True)
class PeerScenario(Scenario):
    """Every work at all sizes that a preset names; in the place of a router, ours or a peer."""

    subject = "peer"

    def benchmark(self) -> Callable[..., None]:
        """A benchmark of ours or of a peer at a work."""

        def bench(replay: Replay, input_name: str, router_name: str) -> None:
            replay(Case(self.name, router_name, input_name))

        return bench

    def parameters(self, preset: Preset) -> dict[str, Sequence[Any]]:
        """Pairs of a work at some sizes, and ours or a peer: each work has peers of its own."""
        works = WORKS.values() if self.is_collected(preset) else ()
        pairs = [
            (_input_name(work.name, sizes), name)
            for work in works
            for sizes in _by_dtype(preset)
            for name in (BASELINE, *work.peers)
        ]
        return {"input_name,router_name": pairs}

    def check_sizes(self, preset: Preset) -> None:
        """Refuse a selection rule that is asked for: a work has that of its peers."""
        for sizes in preset.sizes:
            if sizes.selection is not None:
                raise ValueError(
                    f"{sizes.label}: {self.name} have selection rules of their own; expected tokens, sizes or a dtype"
                )


def _by_dtype(preset: Preset) -> list[Sizes]:
    """A preset's sizes, those of a dtype together: the weights of one are in memory at a time."""
    order = list(dict.fromkeys(sizes.dtype for sizes in preset.sizes))
    return sorted(preset.sizes, key=lambda sizes: order.index(sizes.dtype)) or [Sizes()]


def _input_name(work: str, sizes: Sizes) -> str:
    return SEPARATOR.join(filter(None, (work, sizes.label)))
