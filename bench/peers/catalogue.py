"""All works by name. Axes: D hidden size, I intermediate size, E experts, K experts per token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from bench.peers import layers
from bench.peers.gates import KINDS, Gates, rule_of
from bench.peers.layers import Layers
from bench.peers.work import Work, WorkSizes
from bench.sizes import DType, Sizes

FORWARD, TRAINING = "forward", "training"


@dataclass(frozen=True)
class WorkKind:
    """A work, before it has weights.

    Attributes:
        name: in the names of benchmarks and in the JSON.
        label: for a heading.
        description: what one call does, for the middle of a sentence.
        family: works of one family share their weights.
        mode: `FORWARD`, or `TRAINING`: forward and backward.
        selection: the name of the selection rule.
        sizes: of it, unless others are asked for.
        peers: names of those who do it beside ours.
        make: (sizes, device, dtype) -> the work with its weights.
    """

    name: str
    label: str
    description: str
    family: str
    mode: str
    selection: str
    sizes: WorkSizes
    peers: tuple[str, ...]
    make: Callable[[WorkSizes, str, DType], Work]

    @property
    def gradients(self) -> bool:
        """Whether calls run with autograd on."""
        return self.mode == TRAINING

    def sizes_at(self, asked: Sizes) -> WorkSizes:
        """Its own, but for those that were asked for; without experts there is no intermediate size."""
        changed = {name: size for name, size in asked.changed.items() if getattr(self.sizes, name)}
        return replace(self.sizes, **changed)


LAYERS = {"small": WorkSizes(768, 3072, 8, 2), "large": WorkSizes(2048, 1408, 60, 4)}
"""The layers' sizes by name: a small model's, and Qwen1.5-MoE-A2.7B's."""
MODES = {FORWARD: ("", ""), TRAINING: ("_training", ", forward and backward")}
"""Mode -> what it adds to a work's name, and to its label and description."""
WORKS = {
    work.name: work
    for mode, (suffix, said) in MODES.items()
    for work in (
        *(
            WorkKind(
                name=f"gate_{gate}{suffix}",
                label=f"{gate} gate{said}",
                description=f"a linear map and the selection of experts by {gate}'s rule{said}",
                family=f"gate_{gate}",
                mode=mode,
                selection=rule_of(gate),
                sizes=kind.sizes,
                peers=kind.peers,
                make=partial(Gates, gate),
            )
            for gate, kind in KINDS.items()
        ),
        *(
            WorkKind(
                name=f"layer_{name}{suffix}",
                label=f"{name} layer{said}",
                description=f"Mixtral's block: a softmax router and SwiGLU experts{said}",
                family=f"layer_{name}",
                mode=mode,
                selection="softmax",
                sizes=sizes,
                peers=layers.PEERS,
                make=Layers,
            )
            for name, sizes in LAYERS.items()
        ),
    )
}
"""By name."""


def get_work(name: str) -> WorkKind:
    """The work of that name.

    Raises:
        ValueError: an unknown name; the message lists those that exist.
    """
    if name not in WORKS:
        raise ValueError(f"unknown work {name!r}; there are: {', '.join(WORKS)}")
    return WORKS[name]
